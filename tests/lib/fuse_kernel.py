"""What the kernel's FUSE can do, as it says itself: the INIT request of a mount that is ended at once."""

from __future__ import annotations

import ctypes
import functools
import os
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

_MNT_DETACH = 2
_FLAGS_AT = 40 + 12  # after the header of a request; version and read-ahead come before
_FLAGS_EXT = 1 << 30  # FUSE_INIT_EXT: there is a second word of flags
_RESEND = 1 << 7  # FUSE_HAS_RESEND, in the second word

_NO_RESEND = Path(__file__).parent / "programs" / "no_resend.c"

_libc = ctypes.CDLL(None, use_errno=True)


@functools.cache
def has_resend() -> bool:
    """Whether a mount can outlive its process (Linux 6.9). Needs root and /dev/fuse."""
    flags, more = struct.unpack_from("II", _init_request(), _FLAGS_AT)
    return bool(flags & _FLAGS_EXT and more & _RESEND)


class Kernel(NamedTuple):
    """One that sends again what a killed process has taken, or that has such a call fail."""

    resends: bool
    env: dict[str, str]  # of a program that is to find it


def without_resend(area: Path) -> Kernel:
    """One before Linux 6.9: this one, or a program learns so."""
    if not has_resend():
        return Kernel(False, {})
    library = area / "no_resend.so"
    command = ["cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra"]
    subprocess.run([*command, "-shared", "-fPIC", "-o", str(library), str(_NO_RESEND)], check=True)
    options = ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0"]))
    return Kernel(False, {"LD_PRELOAD": str(library), "ASAN_OPTIONS": options})


def _init_request() -> bytes:
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    with tempfile.TemporaryDirectory(prefix="secretfs-test-") as point:
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
        try:
            if _libc.mount(b"none", point.encode(), b"fuse.test", 0, options) != 0:
                raise OSError(ctypes.get_errno(), "cannot mount a FUSE file system")
            try:
                return os.read(device, 1 << 20)
            finally:
                _libc.umount2(point.encode(), _MNT_DETACH)
        finally:
            os.close(device)
