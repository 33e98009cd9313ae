"""What programs that watch a pod's volume see: the same as with a mount of its own (D3)."""

from __future__ import annotations

from lib.inotify import Watcher, ends_update, kinds_and_names, swap
from lib.node_daemon import Node
from lib.sources import Manifests


def test_update_raises_the_kubelets_events(
    node: Node, manifests: Manifests, watcher: Watcher
) -> None:
    volume = node.publish(node.pod())
    watcher.add("root", volume.target)
    manifests.put_secret({"user": b"root", "password": b"dummy-2"})
    events = watcher.wait(ends_update)
    assert kinds_and_names(events) == [*swap(), ("DELETE|ISDIR", "TS1")]


def test_keys_that_come_and_go(node: Node, manifests: Manifests, watcher: Watcher) -> None:
    volume = node.publish(node.pod())
    watcher.add("root", volume.target)
    manifests.put_secret({"user": b"root", "token": b"dummy"})
    events = watcher.wait(ends_update)
    tail = [("CREATE", "token"), ("DELETE", "password"), ("DELETE|ISDIR", "TS1")]
    assert kinds_and_names(events) == [*swap(), *tail]


def test_watch_on_a_key(node: Node, manifests: Manifests, watcher: Watcher) -> None:
    volume = node.publish(node.pod())
    watcher.add("root", volume.target)
    watcher.add("key", volume.target / "user")
    manifests.put_secret({"user": b"root", "password": b"dummy-2"})
    events = watcher.wait(ends_update)
    on_key = [event.kind for event in events if event.watch == "key"]
    assert on_key == ["ATTRIB", "DELETE_SELF", "IGNORED"]


def test_nothing_of_other_volumes(node: Node, manifests: Manifests, watcher: Watcher) -> None:
    """They come, change and go in the same file system."""
    manifests.put_secret({"k": b"1"}, name="other")
    volume = node.publish(node.pod(0))
    watcher.add("root", volume.target)
    other = node.publish(node.pod(1, secret="other"))
    manifests.put_secret({"k": b"2"}, name="other")
    node.unpublish(other)
    node.publish(volume)
    manifests.put_secret({"user": b"root", "password": b"dummy-2"})
    events = watcher.wait(ends_update)
    assert kinds_and_names(events) == [*swap(), ("DELETE|ISDIR", "TS1")]


def test_unpublish_raises_ignored_last(node: Node, watcher: Watcher) -> None:
    """The last that is heard, when the volume goes."""
    volume = node.publish(node.pod())
    watcher.add("root", volume.target)
    node.unpublish(volume)
    events = watcher.wait(lambda event: event.kind == "IGNORED")
    assert events[-1].kind == "IGNORED"
