"""How the kubelet finds the plug-in, and what becomes of it when it does not take it."""

from __future__ import annotations

from pathlib import Path

from lib import kubelet, wire
from lib.grpc_client import call
from lib.harness import Harness
from lib.waiting import until


def is_newer(path: Path, made_at_ns: int) -> bool:
    """Whether another socket lies there; inode numbers are used again."""
    try:
        return path.stat().st_ctime_ns > made_at_ns
    except FileNotFoundError:
        return False


def notify(plugin: Harness, *, registered: bool, error: str = "") -> None:
    message = (wire.field(1, True) if registered else b"") + (wire.field(2, error) if error else b"")
    answer = call(plugin.registration, kubelet.NOTIFY, message, grpc_timeout="5S", authority="")
    assert answer.message == b""


def test_says_what_the_kubelet_asks(plugin: Harness) -> None:
    """R5."""
    answer = call(plugin.registration, kubelet.GET_INFO, grpc_timeout="1S")
    assert wire.parse(answer.message) == [
        (1, b"CSIPlugin"),
        (2, b"csi.secretfs.io"),
        (3, str(plugin.endpoint).encode()),
        (4, b"1.0.0"),
    ]


def test_learns_that_it_is_registered(plugin: Harness) -> None:
    """R10: any number of times, at the same socket."""
    made_at = plugin.registration.stat().st_ctime_ns
    for _ in range(3):
        assert call(plugin.registration, kubelet.GET_INFO).code == kubelet.OK
        notify(plugin, registered=True)
        event = plugin.wait("registration")
        assert event["registered"] and event["error"] == ""
    assert plugin.registration.stat().st_ctime_ns == made_at


def test_a_refusal_makes_a_new_socket(plugin: Harness) -> None:
    """R8: the kubelet does not try again with the same one; CSI goes on."""
    reason = "RegisterPlugin error: rpc error: code = Unavailable"
    for _ in range(2):
        made_at = plugin.registration.stat().st_ctime_ns
        notify(plugin, registered=False, error=reason)
        event = plugin.wait("registration")
        assert not event["registered"] and event["error"] == reason
        until(lambda: is_newer(plugin.registration, made_at), "a new registration socket")
        assert call(plugin.registration, kubelet.GET_INFO).code == kubelet.OK
    notify(plugin, registered=True)
    assert plugin.wait("registration")["registered"]


def test_a_reason_that_is_fit_to_be_logged(plugin: Harness) -> None:
    notify(plugin, registered=False, error="a\nb\x1b[31mc" + "x" * 1000)
    error = plugin.wait("registration")["error"]
    assert error.startswith("a b [31mcxx") and len(error) == 255


def test_invalid_registration_status_is_refused(plugin: Harness) -> None:
    answer = call(plugin.registration, kubelet.NOTIFY, b"\xff\xff")
    assert answer.code == kubelet.INVALID_ARGUMENT
    assert plugin.seen("registration") == []
