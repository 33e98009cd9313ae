"""`secretfs doctor`: what it finds on this host and at an API server."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import yaml

from lib import program
from lib.deploy import TOP
from lib.namespace import hiding
from lib.sources import Api, Manifests
from lib.waiting import until


def doctor(area: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Looks at a kubelet and a daemon of the test's own, and not at those of this machine."""
    places = ["--kubelet-root", area / "kubelet", "--run-dir", area / "run"]
    return program.run(
        [*hiding("/etc/kubernetes"), program.binary(), "doctor", *places, *arguments], home=area
    )


def examine(area: Path, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Its exit status, and what it found by check."""
    done = doctor(area, "-o", "json", *arguments)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    checks = {check["check"]: check for check in found["checks"]}
    worst = "fail" if done.returncode else found["result"]
    assert found["result"] == worst
    return done.returncode, checks


def test_doctor_checks_the_host_and_names_remedies(manifests: Manifests, area: Path):
    """Everything is looked at, and what is missing is said with what to do."""
    status, checks = examine(area, "--manifests", str(manifests.directory))
    assert status == 1
    assert checks["fuse-device"]["result"] == "ok"
    assert checks["fuse-mount"]["result"] == "ok"
    for check, flag in (
        ("shared-mappings", "FUSE_DIRECT_IO_ALLOW_MMAP"),
        ("file-handles", "FUSE_NO_EXPORT_SUPPORT"),
        ("user-namespaces", "FUSE_ALLOW_IDMAP"),
    ):
        assert (checks[check]["result"] == "warn") == (flag in checks[check]["text"])
    assert checks["kubelet-root"]["result"] == "fail"
    assert "--kubelet-root" in checks["kubelet-root"]["remedy"]
    assert checks["csi-socket"]["result"] == "fail"
    assert "secretfs node" in checks["csi-socket"]["remedy"]
    assert "kubeconfig" not in checks


def test_socket_counts_when_a_process_listens(manifests: Manifests, area: Path):
    """A socket counts when a process listens, not when its file exists."""
    (area / "kubelet").mkdir()
    path = area / "csi.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        arguments = ["--manifests", str(manifests.directory), "--endpoint", f"unix://{path}"]
        _, checks = examine(area, *arguments, "--registration-path", "none")
        assert checks["csi-socket"]["result"] == "fail"
        server.listen()
        _, checks = examine(area, *arguments, "--registration-path", "none")
        assert checks["csi-socket"]["result"] == "ok"
        assert "registration" not in checks


def run_remedy(area: Path, remedy: str) -> None:
    """Does what a remedy says, as a person would paste it."""
    done = subprocess.run(
        ["sh", "-ec", remedy], env=program.environment(area), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_remedies_help(manifests: Manifests, mount, area: Path):
    """What is done as the doctor says is well afterwards."""
    arguments = ["--manifests", str(manifests.directory)]
    (area / "run").mkdir()
    (area / "run").chmod(0o777)
    manifests.put_secret({"a": b"1"})
    dead = mount(manifests)
    dead.kill()
    _, checks = examine(area, *arguments)
    run_dir = checks["run-dir"]
    assert (run_dir["result"], run_dir["remedy"].count(str(area / "run"))) == ("fail", 2)
    run_remedy(area, run_dir["remedy"])
    command = "secretfs unmount"
    assert f"run `{command}`" in checks["stale-mounts"]["remedy"]
    run_remedy(area, f"{program.binary()} unmount {dead.path}")
    _, checks = examine(area, *arguments)
    assert checks["run-dir"]["result"] == "ok"
    assert str(dead.path) not in checks["stale-mounts"]["text"]


def test_remedy_for_a_mount_that_is_not_shared(manifests: Manifests, area: Path):
    """In a mount namespace of its own, as that of a container."""
    (area / "kubelet").mkdir()
    script = f"""
        check() {{ {program.binary()} doctor "$@" | grep ' kubelet-root'; }}
        check "$@"
        $(check "$@" | sed 's/.*run `\\(.*\\)`.*/\\1/')
        check "$@"
    """
    arguments = ["--manifests", manifests.directory, "--kubelet-root", area / "kubelet", "--run-dir", area / "run"]
    private = ["unshare", "--mount", "--propagation", "private", "--"]
    done = program.run([*private, "sh", "-ec", script, "sh", *arguments], home=area)
    before, after = done.stdout.splitlines()
    assert before.startswith("warn") and "`mount --make-rshared /`" in before, done
    assert after.startswith("ok"), done


def test_held_volumes_are_not_all_certificates(manifests: Manifests, mount, area: Path):
    """The remedy for one that is paused is not to change the object."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    manifests.put_secret({"a": b"2"}, annotations={"secretfs.io/pause": "true"})
    until(lambda: volume.status()["volume"]["state"] == "held", "the volume is held")
    _, checks = examine(area, "--manifests", str(manifests.directory))
    assert "paused by annotation secretfs.io/pause" in checks["volumes"]["text"]
    assert "annotation" in checks["volumes"]["remedy"]
    assert "certificate" not in checks["volumes"]["remedy"]


def test_manifests_that_remedies_name_are_installed():
    """Each deploy/... of a remedy is a directory for kubectl apply -k, and `make install` has it."""
    said = "".join(path.read_text() for path in (TOP / "cmd" / "doctor").glob("*.c"))
    named = set(re.findall(r"-k (deploy/[\w/-]*\w)", said)) | {"deploy/csidriver", "deploy/csidriver-tokens"}
    assert len(named) >= 4
    makes = ["make", "-s", "-n", "BUILD=debug", "install"]
    done = subprocess.run(makes, cwd=TOP, capture_output=True, text=True, check=True)
    for name in named:
        kustomization = yaml.safe_load((TOP / name / "kustomization.yaml").read_text())
        parts = [*kustomization["resources"], *(p["path"] for p in kustomization.get("patches", []))]
        files = [f"{name}/kustomization.yaml", *(f"{name}/{p}" for p in parts if ".yaml" in p)]
        assert [file for file in files if file not in done.stdout] == []


def test_a_dead_mount_is_found(manifests: Manifests, mount, area: Path):
    manifests.put_secret({"a": b"1"})
    mount(manifests).kill()
    _, checks = examine(area, "--manifests", str(manifests.directory))
    assert checks["stale-mounts"]["result"] == "warn"


def test_api_server_that_answers_is_ok(each_api: Api, area: Path):
    """Credentials and server are well; objects that are not there are named."""
    arguments = ["--rights", "daemon", "--kubeconfig", each_api.kubeconfig(), "--node-id", "node-1"]
    _, checks = examine(area, *arguments)
    assert checks["kubeconfig"]["result"] == "ok"
    assert checks["credentials"]["result"] == "ok"
    assert checks["api-server"]["result"] == "ok", checks
    assert "csi.secretfs.io" in checks["csi-driver"]["text"]
    assert checks["pods"]["result"] == "ok"


def test_api_server_that_answers_401_fails(each_api: Api, area: Path):
    config = Path(each_api.kubeconfig())
    content = yaml.safe_load(config.read_text())
    content["users"][0]["user"] = {"token": "dummy-token-unknown"}
    config.write_text(yaml.safe_dump(content))
    _, checks = examine(area, "--rights", "daemon", "--kubeconfig", str(config))
    assert checks["api-server"]["result"] == "fail"
    assert "401" in checks["api-server"]["text"]
    assert "csi-driver" not in checks
    assert "dummy-token" not in json.dumps(checks)


def test_api_server_that_does_not_answer_fails(http1: Api, area: Path):
    config = http1.kubeconfig()
    http1.server.stop_listening()
    status, checks = examine(area, "--rights", "daemon", "--kubeconfig", config)
    assert status == 1
    assert checks["api-server"]["result"] == "fail"
    assert http1.server.url in checks["api-server"]["text"]


def test_missing_kubeconfig_is_the_kubelets(area: Path):
    """With the kubelet's rights the kubelet's own is meant."""
    _, checks = examine(area)
    assert checks["kubeconfig"]["result"] == "fail"
    assert "kubelet" in checks["kubeconfig"]["remedy"]


def test_doctor_refuses_unknown_arguments(area: Path):
    for arguments in (["-o", "yaml"], ["-o"], ["--unknown"], ["--rights", "all"]):
        done = program.run([program.binary(), "doctor", *arguments], home=area)
        assert done.returncode == 2, arguments
    done = program.run([program.binary(), "doctor", "--help"], home=area)
    assert done.returncode == 0
    assert "says what to do" in done.stdout


def test_text_output_has_a_line_for_each_check(manifests: Manifests, area: Path):
    done = doctor(area, "--manifests", manifests.directory)
    for line in done.stdout.splitlines():
        assert line.split()[0] in ("ok", "warn", "fail")
