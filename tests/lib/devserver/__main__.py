"""`PYTHONPATH=tests python3 -m lib.devserver --dir DIR`: a server to try things on, with kubectl for instance.

Writes DIR/ca.crt and DIR/admin.kubeconfig, prints one line when it is ready, and ends on SIGTERM
or SIGINT. Objects live in memory and end with it.
"""

from __future__ import annotations

import argparse
import shutil
import signal
from pathlib import Path

from .server import DevServer

_REAL_FRESH_WAIT_SECONDS = 3.0


def main() -> None:
    arguments = _parse()
    signals = (signal.SIGTERM, signal.SIGINT)
    # before any thread exists, so that none of them is interrupted instead of sigwait()
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    server = DevServer(
        arguments.dir,
        port=arguments.port,
        watch_list=arguments.watch_list,
        bookmark_interval=arguments.bookmark_interval,
        fresh_wait=_REAL_FRESH_WAIT_SECONDS,
    )
    with server:
        shutil.copyfile(server.ca_file, arguments.dir / "ca.crt")
        kubeconfig = server.kubeconfig(path=arguments.dir / "admin.kubeconfig")
        print(f"devserver ready at {server.url}, kubeconfig {kubeconfig}", flush=True)
        signal.sigwait(signals)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="devserver", description=__doc__.split("\n")[0])
    parser.add_argument("--dir", type=Path, required=True, help="where the files go")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1, 0 = any free one")
    parser.add_argument("--watch-list", action="store_true", help="support sendInitialEvents")
    parser.add_argument(
        "--bookmark-interval", type=float, default=60.0, metavar="SECONDS", help="default 60"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
