#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What `make demo` shows: a running program picks up a changed secret, within milliseconds.

First from an API server (the development server of the tests, with kubectl as its client), then
from a directory of manifests, without any server. It cleans up after itself, also when it fails.
"""

import contextlib
import http.client
import json
import os
import pathlib
import shlex
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse

TOP = pathlib.Path(__file__).resolve().parents[2]
SECRETFS = os.environ.get("SECRETFS", str(TOP / "build" / "secretfs"))
CONSUMER = str(pathlib.Path(__file__).with_name("consumer.py"))

MANIFEST = """\
apiVersion: v1
kind: Secret
metadata:
  name: db
stringData:
  username: app
  password: {password}
"""


def say(text):
    print(f"\n# {text}", flush=True)


def run(*command, env=None):
    """Show a command as one would type it, and run it."""
    command = [str(word) for word in command]
    shown = [os.path.relpath(c, TOP) if c == SECRETFS else c for c in command]
    print("$ " + shlex.join(shown), flush=True)
    subprocess.run(command, check=True, env=env, stdin=subprocess.DEVNULL)


@contextlib.contextmanager
def process(*command, **kwargs):
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **kwargs) as p:
        try:
            yield p
        finally:
            p.terminate()


@contextlib.contextmanager
def mounted(mountpoint, *options, env=None):
    run(SECRETFS, "mount", *options, "secret/db", mountpoint, env=env)
    try:
        yield
    finally:
        run(SECRETFS, "unmount", mountpoint)


class Consumer:
    """The running program, and what it says."""

    def __init__(self, process_):
        self._process = process_

    def read(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the consumer has ended")
        pid, nanoseconds, value = line.split(maxsplit=2)
        return int(pid), int(nanoseconds), value.strip()


def report(first, then, changed_ns, since_what):
    first_pid, _, first_value = first
    pid, read_ns, value = then
    say("The consumer says:")
    print(f"process {first_pid} read {first_value!r} at first")
    print(f"process {pid} read {value!r} after the change, told by inotify alone")
    print(f"latency: {(read_ns - changed_ns) / 1e6:.3f} ms from {since_what} until it had read it")
    if pid != first_pid or value == first_value:
        raise RuntimeError("the consumer did not pick up the change")


def patch_password(kubeconfig, password):
    """What `kubectl patch` sends, so that the moment of sending is known. Return: that moment."""
    config = json.loads(
        subprocess.check_output(
            ["kubectl", "config", "view", "--raw", "-o", "json", f"--kubeconfig={kubeconfig}"]
        )
    )
    server = urllib.parse.urlsplit(config["clusters"][0]["cluster"]["server"])
    context = ssl.create_default_context(cafile=str(kubeconfig.with_name("ca.crt")))
    connection = http.client.HTTPSConnection(server.hostname, server.port, context=context)
    with contextlib.closing(connection):
        connection.connect()
        sent_ns = time.monotonic_ns()
        connection.request(
            "PATCH",
            "/api/v1/namespaces/default/secrets/db",
            json.dumps({"stringData": {"password": password}}),
            {
                "Content-Type": "application/merge-patch+json",
                "Authorization": "Bearer " + config["users"][0]["user"]["token"],
            },
        )
        status = connection.getresponse().status
    if status != http.client.OK:
        raise RuntimeError(f"the development server answered the PATCH with {status}")
    return sent_ns


def show_volume(mountpoint):
    run("ls", "-la", mountpoint)
    run("cat", f"{mountpoint}/username")
    print()


def demo_api(directory):
    say("1. From an API server. This is the tests' development server; any cluster does.")
    server_directory = directory / "server"
    mountpoint = directory / "mnt-api"
    mountpoint.mkdir()
    command = [sys.executable, "-m", "lib.devserver", "--dir", str(server_directory)]
    with process(*command, cwd=TOP / "tests") as server:
        if "ready" not in server.stdout.readline():
            raise RuntimeError("the development server did not start")
        kubeconfig = server_directory / "admin.kubeconfig"
        env = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(directory)}
        print(f"$ export KUBECONFIG={kubeconfig}")
        run("kubectl", "create", "secret", "generic", "db", "--from-literal=username=app",
            "--from-literal=password=dummy-1", env=env)
        with mounted(str(mountpoint), env=env):
            show_volume(mountpoint)
            with process(sys.executable, CONSUMER, f"{mountpoint}/password") as p:
                consumer = Consumer(p)
                first = consumer.read()
                say("Now the secret changes at the server:")
                print("PATCH /api/v1/namespaces/default/secrets/db")
                sent_ns = patch_password(kubeconfig, "dummy-2")
                report(first, consumer.read(), sent_ns, "sending the PATCH")
                say("And once more, with kubectl:")
                run("kubectl", "patch", "secret", "db", "-p",
                    '{"stringData":{"password":"dummy-3"}}', env=env)
                pid, _, value = consumer.read()
                print(f"process {pid} read {value!r}")
            run(SECRETFS, "status", str(mountpoint))


def demo_manifests(directory):
    say("2. From a directory of manifests: no cluster at all.")
    manifests = directory / "manifests"
    mountpoint = directory / "mnt-manifests"
    manifests.mkdir()
    mountpoint.mkdir()
    (manifests / "db.yaml").write_text(MANIFEST.format(password="dummy-1"))
    run("cat", str(manifests / "db.yaml"))
    with mounted(str(mountpoint), "--manifests", str(manifests)):
        show_volume(mountpoint)
        with process(sys.executable, CONSUMER, f"{mountpoint}/password") as p:
            consumer = Consumer(p)
            first = consumer.read()
            say("Now the file is replaced, as an editor does:")
            new = manifests / "db.yaml.new"
            new.write_text(MANIFEST.format(password="dummy-2"))
            print(f"$ mv {new} {manifests / 'db.yaml'}")
            changed_ns = time.monotonic_ns()
            new.rename(manifests / "db.yaml")
            report(first, consumer.read(), changed_ns, "the rename of the file")


def show():
    with tempfile.TemporaryDirectory(prefix="secretfs-demo-") as directory:
        demo_api(pathlib.Path(directory))
        demo_manifests(pathlib.Path(directory))
    say("Everything is unmounted and gone.")


def main():
    try:
        show()
    except KeyboardInterrupt:
        sys.exit("demo: interrupted; everything is unmounted and gone")
    except subprocess.CalledProcessError as error:
        command = shlex.join(error.cmd)
        sys.exit(f"demo: `{command}` failed with exit status {error.returncode}; its reason is above")
    except (RuntimeError, OSError) as error:
        sys.exit(f"demo: {error}")


if __name__ == "__main__":
    main()
