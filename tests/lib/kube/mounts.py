"""Mounts that a test makes, watches and takes down again."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
from pathlib import Path
from typing import Any, Mapping, Sequence

from lib.process import Process
from lib.waiting import until

# What the log says when something happens to a mount.
FAILS = "source failed, retrying"
WELL = "source recovered"
STALE = "cannot update; the last content stays readable"
CURRENT = "volume is up to date again"

# What no log may hold: the words of sanitizers, assertions and the C library.
SUSPICIOUS = ("Sanitizer", "runtime error", "Assertion", "assert", "corrupt", '"level":"error"')

# Log requests and events, too: no secret value may be in them either.
TRACE = "--trace=http,reflector"


def program() -> Path:
    named = os.environ.get("SECRETFS")
    return Path(named) if named else Path(__file__).parents[3] / "build" / "secretfs"


class Values:
    """Makes distinct values, and remembers them all: none may show up in a log."""

    def __init__(self) -> None:
        self._issued: list[bytes] = []

    def new(self, version: int = 0) -> bytes:
        """A value that begins with its version."""
        value = f"{version:06d}-{secrets.token_hex(12)}".encode()
        self._issued.append(value)
        return value

    def found_in(self, text: bytes) -> list[bytes]:
        return [value for value in self._issued if value.split(b"-")[1] in text]


def version_of(value: bytes) -> int:
    return int(value[:6])


class Mount:
    """`secretfs mount` in the foreground, with all it logs in a file."""

    def __init__(
        self,
        obj: str,
        path: Path,
        arguments: Sequence[str | Path],
        env: Mapping[str, str],
        prefix: Sequence[str | Path] = (),
    ) -> None:
        self.path = path
        self._env = dict(env)
        path.mkdir()
        command = [*prefix, program(), "mount", "--foreground", "--log-level=debug", TRACE]
        command += ["--log-format=json", *arguments, obj, path]
        self.process = Process(obj, command, path.with_suffix(".log"), env, signal.SIGTERM)

    # ---- the log

    def log(self) -> list[dict[str, Any]]:
        lines = self.process.log.read_text(errors="replace").splitlines(keepends=True)
        # the last line may be on its way
        return [json.loads(line) for line in lines if line[:1] == "{" and line.endswith("}\n")]

    def logged(self, message: str) -> list[dict[str, Any]]:
        return [entry for entry in self.log() if entry["msg"] == message]

    def has_logged(self, text: str) -> bool:
        return text in self.process.log.read_text(errors="replace")

    def assert_told_once(self, *messages: str) -> None:
        told = {message: len(self.logged(message)) for message in messages}
        assert told == dict.fromkeys(messages, 1), self.process.log_tail()

    def assert_told_in_turn(self) -> None:
        """That it failed, that it is well, that it failed..., and that it is well at last."""
        told = [entry["msg"] for entry in self.log() if entry["msg"] in (FAILS, WELL)]
        assert told and told == [FAILS, WELL] * (len(told) // 2), self.process.log_tail()

    # ---- how it is doing

    def wait_ready(self) -> Mount:
        def is_ready() -> bool:
            code = self.process.exit_code()
            assert code is None, f"mount ended with {code}:\n{self.process.log_tail()}"
            return bool(self.logged("mounted"))

        until(is_ready, f"{self.process.name} is mounted")
        return self

    def is_mounted(self) -> bool:
        return os.path.ismount(self.path)

    def status(self) -> dict[str, Any]:
        return json.loads(self._run("status", "-o", "json", str(self.path)))

    def source_is(self, state: str) -> bool:
        return self.status()["source"]["state"] == state

    def volume_is(self, state: str) -> bool:
        return self.status()["volume"]["state"] == state

    def wait_for_source(self, state: str) -> dict[str, Any]:
        until(lambda: self.source_is(state), f"source is {state}", pause=0.1)
        return self.status()

    def wait_for_source_error(self, text: str) -> dict[str, Any]:
        def is_reported() -> bool:
            source = self.status()["source"]
            return source["state"] == "failing" and text in source["error"]

        until(is_reported, f"source fails with {text!r}", pause=0.1)
        return self.status()

    def wait_for_volume(self, state: str) -> dict[str, Any]:
        until(lambda: self.volume_is(state), f"volume is {state}", pause=0.1)
        return self.status()

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(program()), *arguments],
            capture_output=True,
            text=True,
            env=self._env,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"secretfs {arguments[0]}: {done.stderr}"
        return done.stdout

    # ---- the files

    @property
    def view(self) -> Path:
        """Where the files can be read."""
        return self.path

    def read(self, key: str) -> bytes:
        return (self.view / key).read_bytes()

    def files(self) -> dict[str, bytes]:
        return {
            name: self.read(name) for name in os.listdir(self.view) if not name.startswith("..")
        }

    def generation(self) -> str:
        return os.readlink(self.view / "..data")

    def wait_for_files(self, files: Mapping[str, bytes]) -> None:
        until(lambda: self.files() == files, "files are new")

    def wait_for_version(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Until it has this very state of the object, with any effect on the files."""
        version = obj["metadata"]["resourceVersion"]
        what = f"resourceVersion {version} has arrived"

        def newest() -> str:
            known = self.status()["object"]
            return known.get("newestResourceVersion", known.get("resourceVersion"))

        until(lambda: newest() == version, what)
        return self.status()

    def wait_for_value(self, key: str, value: bytes, seconds: float = 120) -> None:
        until(lambda: self.read(key) == value, f"{key} has its new value", seconds, pause=0.001)

    # ---- its end

    def unmount(self) -> None:
        self._run("unmount", str(self.path))
        assert self.process.wait(30) == 0, self.process.log_tail()
        assert not self.is_mounted()

    def end(self) -> None:
        """Takes it down if a test has not done so, in good order."""
        if self.process.exit_code() is None:
            assert self.process.stop(signal.SIGTERM, 30) == 0, self.process.log_tail()
        assert not self.is_mounted()

    def wreck(self) -> None:
        """Leaves nothing behind, in any order of events."""
        if self.process.exit_code() is None:
            self.process.stop(signal.SIGKILL)
        while self.is_mounted_at_all():
            if subprocess.run(["umount", "-l", str(self.path)], check=False).returncode != 0:
                break

    def is_mounted_at_all(self) -> bool:
        """Unlike is_mounted() also when the program behind it is gone."""
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return any(line.split()[4] == str(self.path) for line in mounts)


class PodMount(Mount):
    """A mount as a container in a pod would make it: with the files of a service account where
    they always are, in a mount namespace of its own."""

    _SCRIPT = """
        mount -t tmpfs tmpfs /run
        mkdir -p /run/secrets/kubernetes.io/serviceaccount
        mount --bind "$1" /run/secrets/kubernetes.io/serviceaccount
        shift
        exec "$@"
    """

    def __init__(
        self,
        obj: str,
        path: Path,
        arguments: Sequence[str | Path],
        env: Mapping[str, str],
        account: Path,
    ) -> None:
        prefix = ["unshare", "--mount", "--propagation=private", "sh", "-ec", self._SCRIPT]
        super().__init__(obj, path, arguments, env, [*prefix, "sh", account])

    @property
    def view(self) -> Path:
        return Path(f"/proc/{self.process.pid}/root{self.path}")

    def status(self) -> dict[str, Any]:
        enter = ["nsenter", f"--target={self.process.pid}", "--mount", program()]
        done = subprocess.run(
            [*enter, "status", "-o", "json", self.path], capture_output=True, check=True, timeout=60
        )
        return json.loads(done.stdout)


class Mounts:
    """Makes a test's mounts; `finish` takes down what is left and looks at what they logged."""

    def __init__(self, directory: Path, env: Mapping[str, str], values: Values) -> None:
        self._directory = directory
        self._env = {key: value for key, value in env.items() if key != "KUBECONFIG"}
        self._values = values
        self._made: list[Mount] = []

    def start(
        self, obj: str, *arguments: str | Path, account: Path | None = None, **env: str
    ) -> Mount:
        """Does not wait until it is mounted."""
        path = self._directory / f"mount-{len(self._made)}"
        whole_env = {**self._env, **env}
        mount = (
            PodMount(obj, path, arguments, whole_env, account)
            if account
            else Mount(obj, path, arguments, whole_env)
        )
        self._made.append(mount)
        return mount

    def make(
        self, obj: str, *arguments: str | Path, account: Path | None = None, **env: str
    ) -> Mount:
        return self.start(obj, *arguments, account=account, **env).wait_ready()

    def refused(self, obj: str, *arguments: str | Path, **env: str) -> str:
        """The same where the source decides, which it may take longer for than the mount waits."""
        for seconds in (2, 10, 60):
            said = self.fail(obj, *arguments, f"--wait={seconds}s", **env)
            if "has not answered" not in said:
                break
        return said

    def fail(self, obj: str, *arguments: str | Path, **env: str) -> str:
        """A mount that cannot be made. Returns what it said, and nothing is mounted."""
        mount = self.start(obj, *arguments, **env)
        assert mount.process.wait(120) == 1, mount.process.log_tail()
        assert not mount.is_mounted()
        lines = mount.process.log.read_text().splitlines()
        said = [line for line in lines if line.startswith("secretfs: ")]
        assert len(said) == 1, lines
        return said[0]

    def finish(self) -> None:
        try:
            for mount in self._made:
                mount.end()
        finally:
            for mount in self._made:
                mount.wreck()
        for mount in self._made:
            log = mount.process.log.read_bytes()
            words = [word for word in SUSPICIOUS if word.encode() in log]
            assert not words, f"{words} in the log:\n{mount.process.log_tail()}"
            assert not self._values.found_in(log), "secret values in the log"
