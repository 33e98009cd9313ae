"""The command line: exit codes, messages, options, and what happens before anything is mounted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from lib import program
from lib.deploy import TOP
from lib.mountinfo import mounts_at
from lib.sources import Api, Manifests
from lib.volume import Volume
from lib.waiting import until


def secretfs(area: Path, *arguments: str | Path, **options: object):
    return program.run([program.binary(), *arguments], home=area / "home", **options)


@pytest.fixture
def point(area: Path) -> Path:
    path = area / "point"
    path.mkdir()
    return path


# ---- usage

USAGE_ERRORS = [
    ([], "Usage:"),
    (["frobnicate"], 'unknown command "frobnicate"\nRun `secretfs --help` for usage.'),
    (["--verson"], 'unknown option "--verson"; did you mean "version"?\nRun `secretfs --help` for usage.'),
    (["mout"], 'unknown command "mout"; did you mean "mount"?\nRun `secretfs --help` for usage.'),
    (["mount"], "an object and a mount point are required"),
    (["mount", "secret/app"], "an object and a mount point are required"),
    (["mount", "--manifests"], "needs a value"),
    (["mount", "--frobnicate", "secret/app", "/tmp"], "unknown option --frobnicate"),
    (["mount", "--kubconfig=x", "secret/app", "/tmp"], '; did you mean "--kubeconfig"?\nRun `secretfs mount --help`'),
    (["mount", "app", "/tmp"], "invalid object"),
    (["mount", "secret/default/db", "/tmp"], "give a namespace as an option: -n default secret/db\n"),
    (["mount", "pod/app", "/tmp"], "invalid object"),
    (["mount", "secret/Bad_Name", "/tmp"], "invalid name"),
    (["mount", "-n", "no/slash", "secret/app", "/tmp"], "invalid namespace"),
    (["mount", "--wait", "soon", "secret/app", "/tmp"], "invalid duration"),
    (["mount", "--wait", "-1s", "secret/app", "/tmp"], "invalid duration"),
    (["mount", "--log-level", "loud", "secret/app", "/tmp"], "--log-level"),
    (["mount", "--log-format", "xml", "secret/app", "/tmp"], "--log-format"),
    (["mount", "-o", "frobnicate", "secret/app", "/tmp"], 'unknown mount option "frobnicate"'),
    (["mount", "-o", "uid=me", "secret/app", "/tmp"], '--uid: invalid user or group id "me"'),
    (["mount", "-o", "gid=", "secret/app", "/tmp"], '--gid: invalid user or group id ""'),
    (
        ["mount", "--manifests", "/tmp", "--context", "c", "secret/app", "/tmp"],
        "--manifests cannot be combined with",
    ),
    (["rollout"], "rollout takes: status OBJECT|PATH, or"),
    (["rollout", "undo"], "rollout undo takes one object, secret/NAME or configmap/NAME\n"),
    (["rollout", "status"], "secret/NAME or configmap/NAME, or one path in a volume\n"),
    (["doctor", "-o"], "option -o needs a value"),
    (["stop"], "stop takes --unmount and nothing else"),
    (["stop", "--unmount", "/tmp"], "stop takes --unmount and nothing else"),
    (["upgrade"], "upgrade takes one path in a volume, --node or --all"),
    (["upgrade", "--node", "/tmp"], "upgrade takes one path in a volume, --node or --all"),
    (["status", "/tmp", "/run"], "one path in a volume or none"),
    (["status", "-o", "xml", "/tmp"], 'invalid output format "xml", expected one of: text, wide, json, yaml'),
    (["unmount"], "unmount takes a mount point"),
    (["unmount", "--frobnicate", "/tmp"], "unknown option"),
    (["help", "frobnicate"], "unknown command \"frobnicate\"\nRun `secretfs --help` for usage."),
]


@pytest.mark.parametrize("arguments, message", USAGE_ERRORS, ids=lambda value: str(value)[:50])
def test_usage_error_exits_with_2(area: Path, arguments: list[str], message: str):
    """Exit 2, the message on standard error."""
    done = secretfs(area, *arguments)
    assert done.returncode == 2
    assert message in done.stdout + done.stderr
    if arguments:
        assert done.stdout == ""
        assert done.stderr.startswith("secretfs: ")


def completions(area: Path, *words: str) -> list[str]:
    return secretfs(area, "__complete", *words).stdout.splitlines()[:-1]


def misspelled(word: str) -> str:
    return word[1] + word[0] + word[2:]


OF_THIS_HOST = ("--namespace=", "--pod=", "--object=")


def test_misspelled_word_is_answered_with_the_nearest(area: Path):
    """Of each option that takes a word of a list: completion offers the same lists."""
    seen = set()
    for command in completions(area, ""):
        for option in completions(area, command, "--"):
            words = completions(area, command, option) if option.endswith("=") else []
            if option in OF_THIS_HOST or not words or words[0].endswith("/"):  # objects
                continue
            word = words[0].removeprefix(option)
            done = secretfs(area, command, option + misspelled(word))
            assert done.returncode == 2 and f'; did you mean "{word}"?\n' in done.stderr, (command, option, done)
            seen.add(option)
    assert {"--output=", "--rights=", "--ui=", "--tls=", "--type=", "--trace=", "--log-level="} <= seen


@pytest.mark.parametrize("program_name", ["secretfs", "kubectl-secretfs"])
@pytest.mark.parametrize(
    "arguments, word",
    [
        (["staus"], "status"),
        (["rollout", "staus", "secret/app"], "status"),
        (["rollout", "pasue"], "pause"),
        (["adopt", "satus"], "status"),
        (["status", "-o", "jsno"], "json"),
        (["doctor", "-ojsno"], "json"),
        (["rollout", "status", "--watch=flase", "secret/app"], "false"),
        (["mount", "-o", "namespcae=x", "secret/app", "/tmp"], "namespace"),
        (["mount", "-o", "nosiud", "secret/app", "/tmp"], "nosuid"),
        (["mount", "--check-content", "json,ymal", "secret/app", "/tmp"], "yaml"),
    ],
)
def test_misspelled_verb(area: Path, program_name: str, arguments: list[str], word: str):
    path = area / program_name
    path.symlink_to(program.binary())
    done = program.run([path, *arguments], home=area)
    assert done.returncode == 2
    assert f'; did you mean "{word}"?\n' in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["-h"], ["help"], ["help", "mount"], ["help", "status"], ["help", "unmount"]]
    + [[command, "--help"] for command in ("mount", "status", "unmount", "umount", "convert", "adopt")],
)
def test_help_goes_to_standard_output(area: Path, arguments: list[str]):
    done = secretfs(area, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: secretfs" in done.stdout


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_version_is_that_of_the_repository(area: Path, arguments: list[str]):
    done = secretfs(area, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    version = (TOP / "VERSION").read_text().strip()
    assert done.stdout.startswith(f"secretfs {version} ")


def test_name_of_a_kubectl_plugin(area: Path, point: Path, manifests: Manifests):
    """`kubectl secretfs ...` runs kubectl-secretfs, which is the same program by another name."""
    manifests.put_secret({"a": b"1"})
    plugin = area / "kubectl-secretfs"
    plugin.symlink_to(program.binary())

    usage = program.run([plugin, "mount", "--help"], home=area)
    assert usage.stdout.startswith("Usage: kubectl secretfs mount")
    done = program.run([plugin, "mount", *manifests.arguments, "secret/app", point], home=area)
    assert (done.returncode, done.stderr) == (0, "")
    assert (point / "a").read_bytes() == b"1"
    done = program.run([plugin, "unmount", point], home=area)
    assert (done.returncode, done.stderr) == (0, "")


# ---- the mount point


def test_missing_mount_point(area: Path, manifests: Manifests):
    """It is named, and has to be made first."""
    done = secretfs(area, "mount", *manifests.arguments, "secret/app", area / "absent")
    assert done.returncode == 1
    assert f"mount point {area}/absent does not exist" in done.stderr


def test_file_as_mount_point(area: Path, manifests: Manifests):
    file = area / "file"
    file.touch()
    done = secretfs(area, "mount", *manifests.arguments, "secret/app", file)
    assert done.returncode == 1
    assert f"mount point {file} is not a directory" in done.stderr


def test_mounting_twice(area: Path, manifests: Manifests, mount):
    """The second one is refused and the first one untouched."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    done = secretfs(area, "mount", *manifests.arguments, "secret/app", volume.path)
    assert done.returncode == 1
    assert f"mounted on {volume.path} already" in done.stderr
    assert len(mounts_at(volume.path)) == 1
    assert volume.read("a") == b"1"


def test_two_mounts_of_one_object(manifests: Manifests, mount):
    """They are independent of each other."""
    manifests.put_secret({"a": b"1"})
    one, two = mount(manifests), mount(manifests)
    manifests.put_secret({"a": b"2"})
    one.wait_content({"a": b"2"})
    two.wait_content({"a": b"2"})
    one.finish()
    assert two.read("a") == b"2"


def test_mount_points_by_other_paths(area: Path, manifests: Manifests, point: Path):
    """Relative paths, blanks and symlinks lead to the directory meant."""
    manifests.put_secret({"a": b"1"})
    odd = area / "with blank"
    odd.mkdir()
    (area / "link").symlink_to(odd)
    done = secretfs(
        area, "mount", "--manifests", "manifests", "secret/app", "link", cwd=area
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (odd / "a").read_bytes() == b"1"
    assert secretfs(area, "status", "with blank", cwd=area).returncode == 0
    done = secretfs(area, "unmount", "with blank", cwd=area)
    assert (done.returncode, done.stderr) == (0, "")


def test_several_mount_points(manifests: Manifests, area: Path):
    """One that is none of them, or in use, keeps none of the others mounted."""
    manifests.put_secret({"a": b"1"})
    points = [area / "one", area / "two"]
    for path in points:
        path.mkdir()
        assert secretfs(area, "mount", *manifests.arguments, "secret/app", path).returncode == 0
    done = secretfs(area, "unmount", points[0], area, points[1])
    assert (done.returncode, done.stderr) == (1, f"secretfs: {area} is not in a secretfs mount\n")
    assert [mounts_at(path) for path in points] == [[], []]


def test_files_that_a_mount_hides_are_named(manifests: Manifests, start_mount, area: Path):
    """A mount point that is not empty is mounted over, with a warning; an empty one has none."""
    manifests.put_secret({"a": b"1"})
    full, empty = area / "full", area / "empty"
    for path in (full, empty):
        path.mkdir()
    (full / "hidden").write_text("x")
    volume = start_mount(*manifests.arguments, "secret/app", path=full).wait_ready()
    volume.wait_log(f'WARN the mount point is not empty.*"{full}" file="hidden"')
    assert volume.read("a") == b"1"
    other = start_mount(*manifests.arguments, "secret/app", path=empty).wait_ready()
    assert other.log_lines("not empty") == []


# ---- waiting for the object


def test_missing_object_at_once(source, area: Path, point: Path):
    """G1: --wait 0 names what is missing and where; nothing is mounted."""
    done = secretfs(area, "mount", "--wait", "0", *source.arguments, "secret/app", point)
    assert done.returncode == 1
    assert 'secret "app" not found in namespace "default"' in done.stderr
    assert mounts_at(point) == []


def test_missing_object_after_a_wait(source, area: Path, point: Path):
    """G1: so does --wait 1s, first while it waits, and when it gives up."""
    done = secretfs(area, "mount", "--wait", "1s", *source.arguments, "configmap/app", point)
    assert done.returncode == 1
    waiting, gave_up = done.stderr.splitlines()
    missing = 'configmap "app" not found in namespace "default"'
    if isinstance(source, Manifests):
        missing += '; namespace "default" has no configmaps'
    assert waiting.endswith(f"""INFO waiting for the object reason={json.dumps(missing)} limit="1 s\"""")
    assert gave_up == f"secretfs: gave up after 1 s: {missing}"
    assert mounts_at(point) == []


def test_object_in_another_namespace(area: Path, point: Path, http1: Api):
    """Identity is namespace and name: elsewhere is not here."""
    http1.server.apply_secret("prod", "app", {"a": b"1"})
    command = ["mount", "--wait", "0", *http1.arguments, "secret/app", point]
    assert 'namespace "default"' in secretfs(area, *command).stderr
    command[1:1] = ["-n", "prod"]
    assert secretfs(area, *command).returncode == 0
    assert (point / "a").read_bytes() == b"1"
    assert secretfs(area, "unmount", point).returncode == 0


def test_object_that_appears_later(source, start_mount):
    """G1: until then nothing is mounted; as soon as it is there, it is shown."""
    volume = start_mount(
        *source.arguments, "--wait", "forever", "--log-level", "debug", "secret/app"
    )
    if isinstance(source, Api):
        source.server.wait_watches(1)
    assert mounts_at(volume.path) == []
    source.put_secret({"a": b"1"}, name="other")
    source.put_secret({"a": b"1"})
    volume.wait_ready()
    assert volume.read("a") == b"1"


def test_signal_while_waiting(source, start_mount):
    """A program that waits for its object ends on a signal, with nothing left."""
    volume = start_mount(
        *source.arguments, "--wait", "forever", "--log-level", "debug", "secret/app"
    )
    if isinstance(source, Api):
        source.server.wait_watches(1)
    else:
        until(lambda: _takes_signals(volume), "the event loop")
    volume.finish()


def _takes_signals(volume: Volume) -> bool:
    """Whether SIGTERM is blocked, for the loop to take it."""
    status = Path(f"/proc/{volume.pid}/status").read_text()
    blocked = next(line for line in status.splitlines() if line.startswith("SigBlk"))
    return bool(int(blocked.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_server_that_is_away(area: Path, point: Path, http1: Api):
    """--wait 0 with a server that refuses connections says so."""
    http1.server.stop_listening()
    done = secretfs(area, "mount", "--wait", "0", *http1.arguments, "secret/app", point)
    assert done.returncode == 1
    assert "cannot get secret/default/app" in done.stderr
    assert str(http1.server.port) in done.stderr


def test_missing_manifest_directory(area: Path, point: Path):
    done = secretfs(area, "mount", "--manifests", area / "absent", "secret/app", point)
    assert done.returncode == 1
    assert f"{area}/absent" in done.stderr


# ---- in the background


def test_background_returns_when_readable_and_says_nothing(area: Path, point: Path, source):
    """The command returns with nothing on its outputs, and the content is there at once."""
    source.put_secret({"a": b"1"})
    done = secretfs(area, "mount", *source.arguments, "secret/app", point)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (point / "a").read_bytes() == b"1"
    source.put_secret({"a": b"2"})
    until(lambda: (point / "a").read_bytes() == b"2", "the update")
    done = secretfs(area, "unmount", point)
    assert (done.returncode, done.stderr) == (0, "")
    assert mounts_at(point) == []


def test_background_process_is_detached(area: Path, point: Path, manifests: Manifests):
    """A session of its own, / as its directory, no terminal and no pipe of the caller's."""
    manifests.put_secret({"a": b"1"})
    assert secretfs(area, "mount", *manifests.arguments, "secret/app", point).returncode == 0
    pid = json.loads(secretfs(area, "status", "-o", "json", point).stdout)["pid"]
    try:
        assert os.getsid(pid) == pid
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)} == {"/dev/null"}
    finally:
        os.kill(pid, signal.SIGTERM)
        until(lambda: mounts_at(point) == [], "the unmount")


def test_background_logs_to_a_file_that_is_standard_error(
    area: Path, point: Path, manifests: Manifests
):
    """A log file given as standard error stays in use; as JSON if asked for."""
    manifests.put_secret({"a": b"1"})
    command = [program.binary(), "mount", "--log-format", "json", *manifests.arguments]
    with open(area / "log", "wb") as log:
        subprocess.run(
            [*command, "secret/app", point],
            stderr=log,
            env=program.environment(area),
            check=True,
        )
    manifests.put_secret({"a": b"2"})
    until(lambda: (point / "a").read_bytes() == b"2", "the update")
    assert secretfs(area, "unmount", point).returncode == 0

    lines = [json.loads(line) for line in (area / "log").read_text().splitlines()]
    assert [line["msg"] for line in lines].count("published") == 2
    assert {"ts", "level", "msg"} <= set(lines[0])


def test_background_failure_is_reported_by_the_command(area: Path, point: Path):
    """What goes wrong before the volume is readable is the command's own error."""
    kubeconfig = area / "broken"
    kubeconfig.write_text("clusters: [")
    done = secretfs(area, "mount", "--kubeconfig", kubeconfig, "secret/app", point)
    assert done.returncode == 1
    assert str(kubeconfig) in done.stderr


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_background_command_is_killed(area: Path, point: Path, source):
    """The process that would serve the mount ends when the command does, and nothing is mounted."""
    waiting = ["--wait", "forever", *source.arguments, "secret/app", str(point)]
    with subprocess.Popen(
        [program.binary(), "mount", *waiting], env=program.environment(area)
    ) as command:
        (server,) = until(lambda: _children(command.pid), "the process in the background")
        command.kill()
        command.wait()
    until(lambda: _has_ended(server), "its end")
    source.put_secret({"a": b"1"})
    assert mounts_at(point) == []


# ---- mount options


def test_uid_and_gid_own_the_whole_volume(manifests: Manifests, mount):
    """-o uid=,gid= own everything in the volume."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests, "-o", "uid=1234,gid=5678")
    for path in (volume.path, volume.path / "a", volume.path / volume.generation()):
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == (1234, 5678)


def test_options_that_say_nothing_new(manifests: Manifests, mount):
    """ro, rw, allow_other, _netdev and their kind are taken, as from fstab, and change nothing."""
    manifests.put_secret({"a": b"1"})
    options = "ro,allow_other,default_permissions,_netdev,nofail,x-systemd.requires=a"
    volume = mount(manifests, "-o", options)
    assert os.statvfs(volume.path).f_flag & os.ST_RDONLY
    assert volume.read("a") == b"1"


def test_options_of_the_program_as_mount_options(area: Path, point: Path, manifests: Manifests):
    """mount(8) passes NAME=VALUE: the long options work that way, too."""
    manifests.put_secret({"a": b"1"})
    options = f"manifests={manifests.directory},namespace=default,wait=1s"
    done = secretfs(area, "mount", "-o", options, "secret/app", point)
    assert (done.returncode, done.stderr) == (0, "")
    assert secretfs(area, "unmount", point).returncode == 0


# ---- which configuration


def test_kubeconfig_of_the_environment(area: Path, point: Path, http1: Api):
    """$KUBECONFIG is used if no --kubeconfig is given."""
    http1.put_secret({"a": b"1"})
    env = {"KUBECONFIG": http1.arguments[1]}
    done = secretfs(area, "mount", "secret/app", point, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert secretfs(area, "unmount", point).returncode == 0


def test_kubeconfig_of_the_command_line_wins(area: Path, point: Path, http1: Api):
    """--kubeconfig is looked at before $KUBECONFIG."""
    http1.put_secret({"a": b"1"})
    env = {"KUBECONFIG": str(area / "absent")}
    done = secretfs(area, "mount", *http1.arguments, "secret/app", point, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert secretfs(area, "unmount", point).returncode == 0


def test_kubeconfig_in_the_home_directory(area: Path, point: Path, http1: Api):
    """~/.kube/config is used if $KUBECONFIG is not set; --context and its namespace count."""
    http1.server.apply_secret("team", "app", {"a": b"1"})
    (area / "home" / ".kube").mkdir()
    http1.kubeconfig(path=area / "home" / ".kube" / "config", namespace="team")
    done = secretfs(area, "mount", "--context", "devserver", "secret/app", point)
    assert (done.returncode, done.stderr) == (0, "")
    assert secretfs(area, "unmount", point).returncode == 0


def test_no_configuration_at_all(area: Path, point: Path):
    """The message says what was looked for."""
    done = secretfs(area, "mount", "secret/app", point)
    assert done.returncode == 1
    assert "--kubeconfig" in done.stderr or "KUBECONFIG" in done.stderr


def test_unknown_context(area: Path, point: Path, http1: Api):
    done = secretfs(
        area, "mount", *http1.arguments, "--context", "elsewhere", "secret/app", point
    )
    assert done.returncode == 1
    assert "elsewhere" in done.stderr
