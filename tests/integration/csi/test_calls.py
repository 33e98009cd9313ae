"""The calls of the kubelet, one after the other and on top of each other."""

from __future__ import annotations

import json

import pytest

from lib import kubelet, wire
from lib.grpc_client import Connection, call
from lib.harness import Harness, HarnessMaker
from lib.kubelet import PodVolume
from lib.waiting import until


def test_identity_and_node_info_name_the_plug_in(plugin: Harness) -> None:
    assert wire.parse(call(plugin.endpoint, "/csi.v1.Identity/GetPluginInfo").message) == [
        (1, b"csi.secretfs.io"),
        (2, b"1.2.3"),
    ]
    assert call(plugin.endpoint, "/csi.v1.Identity/GetPluginCapabilities").message == b""
    assert wire.parse(call(plugin.endpoint, kubelet.GET_NODE_INFO).message) == [(1, b"node-1")]


def test_serves_fs_group_itself(plugin: Harness) -> None:
    """S2, S8: VOLUME_MOUNT_GROUP and nothing else."""
    capabilities = wire.parse(call(plugin.endpoint, kubelet.GET_CAPABILITIES).message)
    assert [wire.parse(wire.parse(value)[0][1]) for _, value in capabilities] == [[(1, 6)]]


def test_probe_says_whether_the_program_is_ready(plugin: Harness) -> None:
    def ready() -> list[wire.Field]:
        return wire.parse(wire.parse(call(plugin.endpoint, kubelet.PROBE).message)[0][1])

    assert ready() == [(1, 1)]
    plugin.set_ready(False)
    while ready():
        pass
    assert ready() == []


def test_publish_is_answered_when_the_program_answers(plugin: Harness) -> None:
    volume = PodVolume(attributes={"secretName": "db", "items": "[{key: a, path: b}]"})
    connection, stream = volume.start_publish(plugin.endpoint)
    assert plugin.wait("publish") == {
        "event": "publish",
        "volume_id": volume.volume_id,
        "target_path": str(volume.target),
        "fs_type": "",
        "pod_name": "web-0",
        "pod_namespace": "prod",
        "pod_uid": volume.uid,
        "service_account": "default",
        "tokens": "",
        "read_only": False,
        "mount_group": -1,
        "attributes": {"secretName": "db", "items": "[{key: a, path: b}]"},
    }
    # a call that comes later is answered earlier
    assert call(plugin.endpoint, kubelet.PROBE).code == kubelet.OK
    assert not connection.answers[stream].is_over
    plugin.reply(volume.volume_id)
    answer = connection.finish(stream)
    assert answer.message == b""
    assert answer.headers[":status"] == "200"
    assert answer.headers["content-type"] == "application/grpc"
    connection.close()
    plugin.wait("answered", method="NodePublishVolume", code="OK")


def test_publish_passes_all_fields(plugin: Harness) -> None:
    volume = PodVolume(
        read_only=True, fs_type="secretfs", fs_group=2000, mount_flags=("ro", "nosuid"), tokens="{}"
    )
    with volume.start_publish(plugin.endpoint)[0]:
        event = plugin.wait("publish")
        assert event["read_only"] and event["fs_type"] == "secretfs"
        assert event["mount_group"] == 2000 and event["tokens"] == "{}"


@pytest.mark.parametrize("in_secrets", [False, True])
def test_tokens_from_either_place(plugin: Harness, in_secrets: bool) -> None:
    """U4; and the secrets of nodePublishSecretRef are of no interest."""
    tokens = json.dumps({"": {"token": "dummy", "expirationTimestamp": "2030-01-01T00:00:00Z"}})
    volume = PodVolume(
        tokens=tokens, tokens_in_secrets=in_secrets, secrets={"a": "dummy", "z": "dummy"}
    )
    with volume.start_publish(plugin.endpoint)[0]:
        assert plugin.wait("publish")["tokens"] == tokens
    plugin.wait("cancelled")


def test_unpublish_passes_volume_and_target(plugin: Harness) -> None:
    volume = PodVolume()
    with Connection(plugin.endpoint) as connection:
        stream = connection.start(kubelet.UNPUBLISH, volume.unpublish_request())
        event = plugin.wait("unpublish")
        assert event["volume_id"] == volume.volume_id
        assert event["target_path"] == str(volume.target)
        plugin.reply(volume.volume_id)
        assert connection.finish(stream).message == b""


@pytest.mark.parametrize(
    "text",
    [
        'secret/prod/db: not found: create it, or set optional: "true"',
        "100% of grpc-message; ünïcode → and 漢字",
        "",
        "x" * 600,
    ],
)
def test_errors_reach_the_caller(plugin: Harness, text: str) -> None:
    volume = PodVolume()
    connection, stream = volume.start_publish(plugin.endpoint)
    plugin.wait("publish")
    plugin.reply(volume.volume_id, kubelet.NOT_FOUND, text)
    answer = connection.finish(stream)
    connection.close()
    assert (answer.code, answer.text, answer.body) == (kubelet.NOT_FOUND, text, b"")
    assert answer.trailers == {}  # all in one block of headers
    plugin.wait("answered", method="NodePublishVolume", code="NOT_FOUND")


def test_a_long_error_is_cut_between_characters(plugin: Harness) -> None:
    volume = PodVolume()
    connection, stream = volume.start_publish(plugin.endpoint)
    plugin.wait("publish")
    plugin.reply(volume.volume_id, kubelet.INTERNAL, "x" + "ü" * 1000)
    assert connection.finish(stream).text == "x" + "ü" * 511
    connection.close()


# ---- one volume at a time (S14)


def test_publish_again_while_the_first_is_at_work(plugin: Harness) -> None:
    volume, other = PodVolume(), PodVolume(volume="other")
    first, first_stream = volume.start_publish(plugin.endpoint)
    plugin.wait("publish")
    answer = volume.publish(plugin.endpoint)
    assert answer.code == kubelet.ABORTED and "try again" in answer.text
    assert volume.unpublish(plugin.endpoint).code == kubelet.ABORTED
    # others are not concerned
    second, second_stream = other.start_publish(plugin.endpoint)
    plugin.wait("publish", volume_id=other.volume_id)
    plugin.reply(other.volume_id)
    assert second.finish(second_stream).code == kubelet.OK
    plugin.reply(volume.volume_id)
    assert first.finish(first_stream).code == kubelet.OK
    first.close()
    second.close()
    assert plugin.seen("publish") == [] and plugin.seen("unpublish") == []


def test_publish_during_unpublish(plugin: Harness) -> None:
    volume = PodVolume()
    with Connection(plugin.endpoint) as connection:
        stream = connection.start(kubelet.UNPUBLISH, volume.unpublish_request())
        plugin.wait("unpublish")
        assert volume.publish(plugin.endpoint).code == kubelet.ABORTED
        assert volume.unpublish(plugin.endpoint).code == kubelet.ABORTED
        plugin.reply(volume.volume_id)
        assert connection.finish(stream).code == kubelet.OK


def test_republish_is_passed_on_each_time(plugin: Harness) -> None:
    """U2, S13: what has changed is for the program to see."""
    for token in ("first", "second", "third"):
        volume = PodVolume(tokens=json.dumps({"": {"token": token}}))
        connection, stream = volume.start_publish(plugin.endpoint)
        assert token in plugin.wait("publish")["tokens"]
        plugin.reply(volume.volume_id)
        assert connection.finish(stream).code == kubelet.OK
        connection.close()


def test_a_retry_after_the_deadline(plugin: Harness) -> None:
    """The volume is busy until its work has really ended."""
    volume = PodVolume()
    connection, stream = volume.start_publish(plugin.endpoint, grpc_timeout="50m")
    plugin.wait("publish")
    answer = connection.finish(stream)
    assert answer.code == kubelet.DEADLINE_EXCEEDED
    connection.close()
    assert plugin.wait("cancelled")["volume_id"] == volume.volume_id
    plugin.wait("answered", code="DEADLINE_EXCEEDED")
    assert volume.publish(plugin.endpoint).code == kubelet.ABORTED
    plugin.reply(volume.volume_id)
    connection, stream = volume.start_publish(plugin.endpoint)
    plugin.wait("publish")
    plugin.reply(volume.volume_id)
    assert connection.finish(stream).code == kubelet.OK
    connection.close()
    assert plugin.seen("cancelled") == []


@pytest.mark.parametrize("timeout", ["0n", "1n", "1u"])
def test_a_deadline_that_is_over_at_once(plugin: Harness, timeout: str) -> None:
    answer = call(
        plugin.endpoint, kubelet.PUBLISH, PodVolume().publish_request(), grpc_timeout=timeout
    )
    assert answer.code == kubelet.DEADLINE_EXCEEDED


@pytest.mark.parametrize("timeout", ["99999999H", "1H", "2M", "120S", "120000m"])
def test_deadlines_that_are_far_away(plugin: Harness, timeout: str) -> None:
    assert call(plugin.endpoint, kubelet.PROBE, grpc_timeout=timeout).code == kubelet.OK


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_caller_that_goes_away(plugin: Harness, how: str) -> None:
    volume = PodVolume()
    connection, stream = volume.start_publish(plugin.endpoint)
    plugin.wait("publish")
    if how == "close":
        connection.close()
    else:
        connection.h2.reset_stream(stream, error_code=8)
        connection.flush()
    assert plugin.wait("cancelled")["volume_id"] == volume.volume_id
    plugin.wait("answered", code="CANCELLED")
    assert volume.unpublish(plugin.endpoint).code == kubelet.ABORTED
    plugin.reply(volume.volume_id, kubelet.UNAVAILABLE, "no caller reads this")
    with Connection(plugin.endpoint) as other:
        stream = other.start(kubelet.UNPUBLISH, volume.unpublish_request())
        plugin.wait("unpublish")
        plugin.reply(volume.volume_id)
        assert other.finish(stream).code == kubelet.OK
    connection.close()


def test_an_orderly_end_cancels_what_is_open(start_plugin: HarnessMaker) -> None:
    plugin = start_plugin().started()
    volume = PodVolume()
    connection, stream = volume.start_publish(plugin.endpoint)
    plugin.wait("publish")
    plugin.quit()
    plugin.wait("cancelled")
    connection.wait_gone()
    assert connection.goaway == 0
    connection.close()
    assert not plugin.endpoint.exists() and not plugin.registration.exists()


# ---- requests that are not in order


def refused(plugin: Harness, request: bytes, method: str = kubelet.PUBLISH) -> str:
    """A request that is refused before the program sees it, and the error."""
    answer = call(plugin.endpoint, method, request)
    assert answer.code == kubelet.INVALID_ARGUMENT, (answer.code, answer.text)
    assert plugin.seen("publish") == [] and plugin.seen("unpublish") == []
    assert "dummy" not in answer.text
    return answer.text


def test_publish_without_pod_info_names_the_csidriver_field(plugin: Harness) -> None:
    """S5: the most frequent mistake in a CSIDriver object."""
    text = refused(plugin, PodVolume(pod_info=False, tokens="dummy").publish_request())
    assert "podInfoOnMount: true" in text and "CSIDriver" in text and "csi.secretfs.io" in text


def test_a_pod_that_passes_itself_off_for_another(plugin: Harness) -> None:
    """Without podInfoOnMount the pod's own attributes could say whose it is."""
    honest = PodVolume(pod_info=False)
    prefix = "csi.storage.k8s.io/"
    claims = {
        f"{prefix}pod.name": "bank",
        f"{prefix}pod.namespace": "kube-system",
        f"{prefix}pod.uid": "another-uid",
        f"{prefix}ephemeral": "true",
    }
    assert "podInfoOnMount" in refused(plugin, honest.publish_request(claims.items()))


@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_key_that_is_cut_short_by_nul(plugin: Harness, at_the_end: bool) -> None:
    """To C, `...pod.namespace\\0` is the kubelet's own key."""
    claim = [("csi.storage.k8s.io/pod.namespace\0", "kube-system")]
    if at_the_end:
        text = refused(plugin, PodVolume().publish_request(claim))
    else:
        text = refused(plugin, wire.pairs(8, claim) + PodVolume().publish_request())
    assert "NUL" in text


def test_duplicate_context_key_is_refused(plugin: Harness) -> None:
    claim = [("csi.storage.k8s.io/pod.namespace", "kube-system")]
    assert "duplicate key" in refused(plugin, PodVolume().publish_request(claim))


def test_values_with_nul(plugin: Harness) -> None:
    text = refused(plugin, PodVolume(attributes={"secretName": "db\0dummy"}).publish_request())
    assert "volumeAttributes.secretName" in text and "NUL" in text
    assert "NUL" in refused(plugin, PodVolume(namespace="prod\0").publish_request())
    for in_secrets in (False, True):
        volume = PodVolume(tokens="{}\0", tokens_in_secrets=in_secrets)
        assert "NUL" in refused(plugin, volume.publish_request())


def test_persistent_volumes(plugin: Harness) -> None:
    volume = PodVolume()
    context = volume.context()
    del context["csi.storage.k8s.io/ephemeral"]
    volume.pod_info, volume.attributes = False, context
    assert "PersistentVolume" in refused(plugin, volume.publish_request())


def test_block_devices(plugin: Harness) -> None:
    """S4: what fsType: block is turned into."""
    assert "fsType: block" in refused(plugin, PodVolume(block=True).publish_request())


@pytest.mark.parametrize("drop", [1, 4, 5])
def test_fields_that_are_missing(plugin: Harness, drop: int) -> None:
    names = {1: "volume_id", 4: "target_path", 5: "volume_capability"}
    fields = [f for f in wire.parse(PodVolume().publish_request()) if f[0] != drop]
    request = b"".join(wire.field(number, value) for number, value in fields)
    assert refused(plugin, request).startswith(f"{names[drop]} is missing")


def test_empty_request_names_the_missing_field(plugin: Harness) -> None:
    assert refused(plugin, b"").startswith("volume_id is missing")
    assert refused(plugin, b"", kubelet.UNPUBLISH).startswith("volume_id is missing")
    request = wire.field(1, "csi-1")
    assert refused(plugin, request, kubelet.UNPUBLISH).startswith("target_path is missing")


@pytest.mark.parametrize("volume_id", ["..", "a/b", ".hidden", "a\0b", "x" * 129, "ä", "a b"])
def test_ids_that_could_be_no_directory(plugin: Harness, volume_id: str) -> None:
    request = wire.field(1, volume_id) + wire.field(2, "/a")
    assert refused(plugin, request, kubelet.UNPUBLISH).startswith("invalid volume_id:")


@pytest.mark.parametrize(
    "target", ["relative", "/", "/a/../b", "/a/./b", "/a//b", "/a/", "/a\0b", "/" + "x" * 4096]
)
def test_targets_that_lead_elsewhere(plugin: Harness, target: str) -> None:
    request = wire.field(1, "csi-1") + wire.field(2, target)
    assert refused(plugin, request, kubelet.UNPUBLISH).startswith("invalid target_path:")


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"mount_flags": ('context="x"',)}, "seLinuxMount"),
        ({"mount_flags": ("noatime",)}, "mount option"),
        ({"namespace": "Prod"}, "pod.namespace"),
        ({"pod": "-"}, "pod.name"),
        ({"uid": "a/../b"}, "target_path"),
    ],
)
def test_invalid_values_are_refused(
    plugin: Harness, change: dict[str, object], expected: str
) -> None:
    assert expected in refused(plugin, PodVolume(**change).publish_request())  # type: ignore[arg-type]


@pytest.mark.parametrize("group", ["-1", "staff", "4294967295", "1 ", "1\0"])
def test_invalid_fs_group_is_refused(plugin: Harness, group: str) -> None:
    volume = PodVolume(fs_group=0)
    volume.fs_group = group  # type: ignore[assignment]
    assert "fsGroup" in refused(plugin, volume.publish_request())


def test_fields_that_are_new_are_passed_by(plugin: Harness) -> None:
    more = wire.field(99, "something") + wire.field(98, 7)
    volume = PodVolume(attributes={})
    request = volume.publish_request([("csi.storage.k8s.io/pod.shoe-size", "46")]) + more
    with Connection(plugin.endpoint) as connection:
        connection.start(kubelet.PUBLISH, request)
        assert plugin.wait("publish")["attributes"] == {}
    plugin.wait("cancelled")


@pytest.mark.parametrize("garbage", [b"\xff" * 40, b"\x0a\x7fshort", b"\x0a", b"\x08\x01\x0a"])
def test_invalid_protocol_buffer_is_refused(plugin: Harness, garbage: bytes) -> None:
    assert "protocol buffers" in refused(plugin, garbage)
    assert "protocol buffers" in refused(plugin, garbage, kubelet.UNPUBLISH)


def test_a_part_that_is_no_protocol_buffer(plugin: Harness) -> None:
    assert "protocol buffers" in refused(plugin, wire.field(8, b"\x0a\x09x"))


def test_a_message_that_would_blow_up_in_memory(plugin: Harness) -> None:
    """Millions of empty pairs of two bytes each."""
    answer = call(plugin.endpoint, kubelet.PUBLISH, b"\x42\x00" * 1_000_000)
    assert answer.code == kubelet.RESOURCE_EXHAUSTED
    assert "too many parts" in answer.text


def test_a_message_as_large_as_pods_can_be(plugin: Harness) -> None:
    secrets = {f"key-{n}": "dummy" * 200 for n in range(1000)}
    attributes = {f"attribute-{n}": "x" * 20 for n in range(5000)}
    volume = PodVolume(secrets=secrets, attributes=attributes)
    with volume.start_publish(plugin.endpoint)[0]:
        assert plugin.wait("publish")["attributes"] == attributes
    plugin.wait("cancelled")


def test_as_many_volumes_as_can_be_worked_on(plugin: Harness) -> None:
    """Calls whose callers have gone, and that the program does not end."""
    started, codes = 0, set()
    with Connection(plugin.endpoint) as connection:
        while kubelet.RESOURCE_EXHAUSTED not in codes:
            assert started < 20_000, "there is no limit"
            streams = []
            for _ in range(32):
                request = PodVolume(volume=f"v{started}").publish_request()
                streams.append(connection.start(kubelet.PUBLISH, request, grpc_timeout="1u"))
                started += 1
            codes = {connection.finish(stream).code for stream in streams}
            assert codes <= {kubelet.DEADLINE_EXCEEDED, kubelet.RESOURCE_EXHAUSTED}
    one_more = PodVolume(volume="one more")
    answer = one_more.publish(plugin.endpoint)
    assert answer.code == kubelet.RESOURCE_EXHAUSTED and "try again" in answer.text
    until(lambda: len(plugin.seen("publish")) >= 4096, "what the plugin has to say")
    at_work = plugin.seen("publish")
    assert len(at_work) == 4096
    plugin.reply(at_work[0]["volume_id"])
    with one_more.start_publish(plugin.endpoint)[0]:
        plugin.wait("publish", volume_id=one_more.volume_id)
    plugin.wait("cancelled", volume_id=one_more.volume_id)
