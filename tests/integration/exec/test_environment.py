"""What the command is started with, and that nothing of secretfs remains then."""

from __future__ import annotations

import base64
import json
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest

from lib import program
from lib.execution import PYTHON
from lib.sources import Api, Manifests
from lib.waiting import until

SHOW = (PYTHON, "-c", "import json, os; print(json.dumps(dict(os.environ)))")


def shown(execution) -> dict[str, str]:
    return json.loads(execution.output())


def without(environment: dict[str, str], *names: str) -> dict[str, str]:
    return {k: v for k, v in environment.items() if k not in ("HOME", "PATH", "LANG", *names)}


def test_keys_and_objects_become_variables(source, start_exec):
    """O2: single keys and whole objects, of both kinds, with a prefix and without."""
    source.put_secret({"user": b"app", "password": b"dummy 1\nline \xc3\xa4"}, name="db")
    source.put_configmap({"level": "debug"}, {"bin": b"x"}, name="app")
    environment = shown(
        start_exec(
            *source.arguments,
            *("--env", "PW=secret/db/password"),
            *("--env-from", "secret/db:DB_"),
            *("--env-from", "configmap/app"),
            *("--env", "LOG=cm/app/level"),
            "--",
            *SHOW,
        )
    )
    assert {k: environment.get(k) for k in ("PW", "DB_user", "DB_password", "level", "LOG")} == {
        "PW": "dummy 1\nline \u00e4",
        "DB_user": "app",
        "DB_password": "dummy 1\nline \u00e4",
        "level": "debug",
        "LOG": "debug",
    }
    assert "bin" not in environment  # M4


def test_single_keys_win_over_objects_and_objects_over_what_is_inherited(
    manifests: Manifests, start_exec
):
    """O2: objects in their order, then single keys, over what was inherited."""
    manifests.put_secret({"A": b"1", "B": b"1", "C": b"1", "D": b"1"}, name="one")
    manifests.put_secret({"B": b"2", "C": b"2"}, name="two")
    arguments = ["--env", "C=secret/one/A", "--env-from", "secret/one", "--env-from", "secret/two"]
    execution = start_exec(
        *manifests.arguments, *arguments, "--", *SHOW, env={"D": "inherited", "E": "inherited"}
    )
    environment = shown(execution)
    assert [environment[name] for name in "ABCDE"] == ["1", "2", "1", "1", "inherited"]


def test_env_spec_is_read_as_a_container_s(manifests: Manifests, area: Path, start_exec):
    """A container's lists, with everything that they can say and an expansion of $(VAR)."""
    manifests.put_secret({"user": b"app", "password": b"dummy-$(user)"}, name="db")
    manifests.put_configmap({"host": "h"}, {}, name="app")
    spec = area / "env.yaml"
    spec.write_text(
        """
        envFrom:
        - prefix: APP_
          configMapRef: {name: app}
        - secretRef: {name: gone, optional: true}
        env:
        - name: PW
          valueFrom:
            secretKeyRef: {name: db, key: password}
        - name: URL
          value: db://$(PW)@$(APP_host)/$(NO)?$$(PW)
        - name: MISSING
          valueFrom:
            secretKeyRef: {name: db, key: gone, optional: true}
        """
    )
    environment = shown(start_exec(*manifests.arguments, "--env-spec", spec, "--", *SHOW))
    assert environment["APP_host"] == "h"
    assert environment["PW"] == "dummy-$(user)"
    assert environment["URL"] == "db://dummy-$(user)@h/$(NO)?$(PW)"
    assert "MISSING" not in environment


def file_key(name: str, path: str, key: str, optional: bool = False) -> dict[str, object]:
    reference = {"volumeName": "config", "path": path, "key": key, "optional": optional}
    return {"name": name, "valueFrom": {"fileKeyRef": reference}}


def env_spec(area: Path, *entries: dict[str, object]) -> list[str]:
    """Arguments for these entries of `env`, and a directory for the volume "config"."""
    spec = area / "env.json"
    spec.write_text(json.dumps({"env": entries}))
    return ["--env-spec", str(spec), "--env-volume", f"config={area}/volume"]


def test_keys_of_files_become_variables(manifests: Manifests, area: Path, start_exec):
    """Y35: fileKeyRef, with a directory in the place of the pod's volume."""
    (area / "volume" / "dir").mkdir(parents=True)
    (area / "volume" / "dir" / "a.env").write_text("# by an init container\nHOST='h'\nPEM='a\nb'\n")
    entries = [
        file_key("DB_HOST", "dir/a.env", "HOST"),
        file_key("PEM", "dir/a.env", "PEM"),
        file_key("NONE", "dir/a.env", "NONE", optional=True),
        {"name": "URL", "value": "db://$(DB_HOST)"},
    ]
    environment = shown(start_exec(*manifests.arguments, *env_spec(area, *entries), "--", *SHOW))
    assert {k: environment.get(k) for k in ("DB_HOST", "PEM", "NONE", "URL")} == {
        "DB_HOST": "h", "PEM": "a\nb", "NONE": None, "URL": "db://h"
    }


@pytest.mark.parametrize(
    "path, key, message",
    [
        ("gone.env", "HOST", "cannot read gone.env in "),
        ("a.env", "NONE", "has no value for the key NONE"),
        ("b.env", "HOST", "line 1: the value is not in single quotes"),
        ("link", "HOST", "cannot read link in "),
    ],
)
def test_missing_file_ends_at_once(
    manifests: Manifests, area: Path, start_exec, path: str, key: str, message: str
):
    """Y35: no source brings it, so nothing is waited for, also with optional: true."""
    (area / "volume").mkdir()
    (area / "volume" / "a.env").write_text("HOST='h'\n")
    (area / "volume" / "b.env").write_text("HOST=dummy\n")
    (area / "outside").write_text("HOST='dummy'\n")
    (area / "volume" / "link").symlink_to("../outside")
    arguments = env_spec(area, file_key("A", path, key, optional=key == "HOST"))
    execution = start_exec(*manifests.arguments, *arguments, "--", *SHOW)
    assert execution.wait_end() == 1
    (line,) = execution.log().splitlines()
    assert line.startswith("secretfs: ") and message in line
    assert "dummy" not in line


def test_restart_reads_files_again(manifests: Manifests, area: Path, start_exec):
    """As a kubelet does for each container that it creates."""
    manifests.put_secret({"k": b"dummy-1"})
    (area / "volume").mkdir()
    file = area / "volume" / "a.env"
    file.write_text("HOST='one'\n")
    arguments = [*env_spec(area, file_key("HOST", "a.env", "HOST")), "--env", "A=secret/app/k"]
    execution = start_exec(
        *manifests.arguments, "--on-change", "restart", *arguments, "--", "@worker"
    )
    assert execution.record.environment()["HOST"] == "one"
    file.write_text("HOST='two'\n")
    manifests.put_secret({"k": b"dummy-2"})
    assert execution.record.environment(2)["HOST"] == "two"


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]",
            "env[0] (IP): valueFrom: fieldRef is not supported",
        ),
        ("env: [{name: 9, value: dummy}]", "env[0]: name: expected a string"),
        ("env: [{name: a=b, value: dummy}]", 'env[0] (a=b): "a=b" is not a valid name'),
        ("envFrom: [{secretRef: {name: a}, prefix: '='}]", 'envFrom[0]: "=" is not a valid prefix'),
        ("env: [dummy", "line 2, column 1: "),
    ],
)
def test_mistakes_in_a_file(manifests: Manifests, area: Path, start_exec, text: str, message: str):
    """The file and the place are named, no value is, and it is no usage error."""
    spec = area / "env.yaml"
    spec.write_text(text)
    execution = start_exec(*manifests.arguments, "--env-spec", spec, "--", "true")
    assert execution.wait_end() == 1
    assert execution.log().startswith(f"secretfs: {spec}: ")
    assert message in execution.log()


def test_invalid_names_are_skipped_and_listed_once(manifests: Manifests, start_exec):
    """O3, O4: by the strict rule invalid names are skipped and listed once; else they are taken."""
    manifests.put_secret({"9b": b"1", "0a": b"2", "ok": b"3"})
    arguments = [*manifests.arguments, "--env-from", "secret/app"]
    execution = start_exec(*arguments, "--env-names", "strict", "--", *SHOW)
    environment = shown(execution)
    assert "9b" not in environment and environment["ok"] == "3"
    assert execution.log().count(" WARN ") == 1
    assert 'names="0a, 9b"' in execution.log()

    execution = start_exec(*arguments, "--", *SHOW)
    environment = shown(execution)
    assert (environment["9b"], environment["0a"], environment["ok"]) == ("1", "2", "3")
    assert execution.log() == ""


@pytest.mark.parametrize(
    "arguments, message, objects, keys",
    [
        (
            ["--env", "A=secret/gone/k"],
            'secret "gone" not found in namespace "default"',
            "; there are the secrets: app",
            "",
        ),
        (
            ["--env-from", "cm/gone"],
            'configmap "gone" not found in namespace "default"',
            '; namespace "default" has no configmaps',
            "",
        ),
        (
            ["--env", "A=secret/app/gone"],
            "couldn't find key gone in Secret default/app",
            "",
            "; secret/default/app has the keys: k",
        ),
    ],
)
def test_missing_object_or_key_ends_the_wait_with_its_name(
    source, start_exec, arguments, message, objects, keys
):
    """O5: an object or key that is missing is named; O6: --optional leaves the variable out. Without a
    terminal the API server is not asked which objects exist."""
    source.put_secret({"k": b"dummy"})
    message += keys
    if source.kind == "manifests":
        message += objects
    for wait, said in (("200ms", "0.2"), ("2s", "2"), ("30s", "30")):
        execution = start_exec(*source.arguments, "--wait", wait, *arguments, "--", *SHOW)
        assert execution.wait_end() == 1
        last = execution.log().splitlines()[-1]
        if not last.endswith("the source has not answered"):  # on a machine that is busy
            break
    assert last == f"secretfs: gave up after {said} s: {message}"

    execution = start_exec(*source.arguments, *arguments, "--optional", "--", *SHOW)
    assert "A" not in shown(execution)


def test_first_answer_decides_without_waiting(source, start_exec):
    source.put_secret({"k": b"dummy"})
    execution = start_exec(
        *source.arguments, "--wait", "0", "--env", "A=secret/gone/k", "--", "true"
    )
    assert execution.wait_end() == 1
    message = 'secretfs: secret "gone" not found in namespace "default"'
    if source.kind == "manifests":
        message += "; there are the secrets: app"
    assert execution.log() == f"{message}\n"


def test_waits_for_what_is_missing(source, start_exec):
    """As a pod does that waits in CreateContainerConfigError."""
    source.put_secret({"other": b"dummy-0"})
    execution = start_exec(*source.arguments, "--env", "A=secret/app/k", "--", "@worker")
    execution.check_shows_nothing()
    source.put_secret({"k": b"dummy-1"})
    assert execution.record.environment()["A"] == "dummy-1"


def test_optional_forgives_only_not_found(http1: Api, start_exec):
    """O6: an optional object that may not be read is an error."""
    http1.put_secret({"k": b"dummy"})
    refused = ["--kubeconfig", http1.kubeconfig("unknown")]
    arguments = ["--optional", "--wait", "5s", "--env", "A=secret/app/k", "--", "true"]
    execution = start_exec(*refused, *arguments)
    assert execution.wait_end() == 1
    assert "cannot get the objects of the environment" in execution.log()
    assert "forbidden" in execution.log()


def test_value_with_nul_is_refused(manifests: Manifests, start_exec):
    """O7: the variable is named, its value is not."""
    manifests.put_secret({"k": b"dummy\0value"})
    arguments = ["--wait", "200ms", "--env", "A=secret/app/k", "--", "true"]
    execution = start_exec(*manifests.arguments, *arguments)
    assert execution.wait_end() == 1
    assert "the value of variable A has a NUL byte" in execution.log()


def test_value_too_long_for_a_variable_is_refused(manifests: Manifests, start_exec):
    """What execve(2) would refuse is named by its variable."""
    manifests.put_secret({"k": b"x" * (32 * resource.getpagesize())})
    arguments = ["--wait", "200ms", "--env", "A=secret/app/k", "--", "true"]
    execution = start_exec(*manifests.arguments, *arguments)
    assert execution.wait_end() == 1
    assert "variable A is longer than" in execution.log()


@pytest.mark.parametrize("on_change", [[], ["--on-change", "ignore"]])
def test_no_process_remains(manifests: Manifests, start_exec, on_change):
    """O1: the command is the very process that was started, with what there was then."""
    manifests.put_secret({"k": b"dummy-1"})
    arguments = [*on_change, "--env", "A=secret/app/k", "--", "@worker"]
    execution = start_exec(*manifests.arguments, *arguments)
    note = execution.record.wait("start")
    assert note["pid"] == execution.pid
    assert note["parent"] == os.getpid()
    assert "python" in os.readlink(f"/proc/{execution.pid}/exe")
    manifests.put_secret({"k": b"dummy-2"})
    execution.signal(signal.SIGHUP)
    execution.record.wait("SIGHUP")
    assert len(execution.record.events("start")) == 1
    execution.signal(signal.SIGTERM)
    assert execution.wait_end() == -signal.SIGTERM


STATE = """
import json, os, resource, signal
print(json.dumps({
    "descriptors": sorted(os.listdir("/proc/self/fd"))[:-1],
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "memlock": resource.getrlimit(resource.RLIMIT_MEMLOCK),
    "filter": open("/proc/self/coredump_filter").read(),
    "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "hup": str(signal.getsignal(signal.SIGHUP)),
    "status": [line for line in open("/proc/self/status") if line.startswith("SigIgn")],
    "directory": os.getcwd(),
}))
"""


def prepare() -> None:
    """Some of what may be set before a program starts."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    soft = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 1 << 20))


@pytest.mark.parametrize("on_change", ["ignore", "restart"])
def test_everything_else_is_inherited(source, start_exec, area: Path, on_change):
    """Descriptors, limits, signals: as if secretfs had not been in between."""
    direct = subprocess.run(
        [PYTHON, "-c", STATE],
        env=program.environment(area / "home"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        preexec_fn=prepare,
    )
    source.put_secret({"k": b"dummy"})
    execution = start_exec(
        *source.arguments,
        *("--on-change", on_change, "--env", "A=secret/app/k", "--", PYTHON, "-c", STATE),
        preexec_fn=prepare,
        env={  # its own limit would be inherited otherwise
            name: f"{os.environ.get(name, '')}:disable_coredump=0"
            for name in ("ASAN_OPTIONS", "TSAN_OPTIONS")
        },
    )
    state = json.loads(execution.output())
    expected = json.loads(direct.stdout)
    # glibc's posix_spawn() ignores 32 and 33, which are its own
    mask = ~(3 << 31)
    for seen in (state, expected):
        seen["status"] = [int(line.split()[1], 16) & mask for line in seen["status"]]
    assert state == expected


@pytest.mark.parametrize("on_change", ["ignore", "restart"])
def test_exit_status(manifests: Manifests, start_exec, on_change, area: Path):
    """The command's own; 127 for none, 126 for one that cannot be run, as a shell has it."""
    manifests.put_secret({"k": b"dummy"})
    (area / "file").write_text("no program")
    (area / "script").write_text("#!/no/such/interpreter\n")
    (area / "script").chmod(0o755)
    died = -signal.SIGKILL if on_change == "ignore" else 128 + signal.SIGKILL
    cases = [
        (["sh", "-c", "exit 7"], 7, ""),
        (["true"], 0, ""),
        (["sh", "-c", "kill -KILL $$"], died, ""),
        (["no-such-command"], 127, "secretfs: cannot run no-such-command: command not found\n"),
        (["/no/such/command"], 127, "secretfs: cannot run /no/such/command: command not found\n"),
        (["/tmp"], 126, "secretfs: cannot run /tmp: Permission denied\n"),
        ([area / "file"], 126, f"secretfs: cannot run {area}/file: Permission denied\n"),
        ([area / "script"], 126, f"cannot run {area}/script: its interpreter does not exist\n"),
    ]
    for command, status, message in cases:
        arguments = ["--on-change", on_change, "--env", "A=secret/app/k", "--", *command]
        execution = start_exec(*manifests.arguments, *arguments)
        assert execution.wait_end() == status, command
        assert execution.log().endswith(message), command


def test_path_is_the_commands(manifests: Manifests, start_exec, area: Path):
    """The command is looked for where its own PATH says."""
    directory = area / "bin"
    directory.mkdir()
    (directory / "greet").write_text("#!/bin/sh\necho hello\n")
    (directory / "greet").chmod(0o755)
    manifests.put_secret({"path": str(directory).encode()})
    arguments = ["--env", "PATH=secret/app/path", "--", "greet"]
    assert start_exec(*manifests.arguments, *arguments).output() == "hello\n"


def test_environment_too_large_for_execve_is_refused(manifests: Manifests, start_exec):
    """Many values that are fine by themselves."""
    manifests.put_secret({f"k{i}": b"x" * 100_000 for i in range(10)})
    arguments = [*manifests.arguments]
    for i in range(30):
        arguments += ["--env-from", f"secret/app:P{i}_"]
    execution = start_exec(*arguments, "--", "/bin/true")
    assert execution.wait_end() == 126
    assert "arguments and environment are too large" in execution.log()


def test_command_without_dash_dash_is_refused(manifests: Manifests, start_exec):
    """Whose options follow is not left to a guess; the message has the command line to type."""
    execution = start_exec(*manifests.arguments, "--env", "A=secret/app/k", "sh", "-c", "true")
    assert execution.wait_end() == 2
    assert "write -- before the command: secretfs exec [options] -- sh ..." in execution.log()


def test_interrupted_while_waiting(manifests: Manifests, start_exec):
    """There is nothing to take down: the signal ends it at once."""
    execution = start_exec(*manifests.arguments, "--env", "A=secret/gone/k", "--", "true")
    until(lambda: "inotify" in descriptors(execution.pid), "the wait")
    execution.signal(signal.SIGINT)
    assert execution.wait_end() == -signal.SIGINT


def descriptors(pid: int) -> str:
    """What they are of, as far as it can be seen."""
    try:
        directory = f"/proc/{pid}/fd"
        return " ".join(os.readlink(f"{directory}/{fd}") for fd in os.listdir(directory))
    except FileNotFoundError:
        return ""


def test_help_shows_usage(area: Path):
    for arguments in (["exec", "--help"], ["help", "exec"]):
        done = program.run([program.binary(), *arguments], home=area / "home")
        assert done.returncode == 0
        assert done.stdout.startswith("Usage: secretfs exec [options] -- COMMAND")


def test_manifest_values_are_not_in_messages(manifests: Manifests, start_exec):
    """--env VAR=VALUE is a mistake that is made with a secret in hand."""
    execution = start_exec(
        *manifests.arguments, "--env", "A=dummy", "--", "true", secrets=("dummy",)
    )
    assert execution.wait_end() == 2
    assert '"A" does not name the key of an object' in execution.log()
    assert base64.b64encode(b"dummy").decode() not in execution.log()
