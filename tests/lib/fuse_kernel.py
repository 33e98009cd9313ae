"""What the kernel's FUSE can do, as it says itself: the INIT request of a mount that is ended at once."""

from __future__ import annotations

import ctypes
import functools
import os
import struct
import tempfile

_MNT_DETACH = 2
_FLAGS_AT = 40 + 12  # after the header of a request; version and read-ahead come before
_FLAGS_EXT = 1 << 30  # FUSE_INIT_EXT: there is a second word of flags
_RESEND = 1 << 7  # FUSE_HAS_RESEND, in the second word

_libc = ctypes.CDLL(None, use_errno=True)


@functools.cache
def has_resend() -> bool:
    """Whether a mount can outlive its process (Linux 6.9). Needs root and /dev/fuse."""
    flags, more = struct.unpack_from("II", _init_request(), _FLAGS_AT)
    return bool(flags & _FLAGS_EXT and more & _RESEND)


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
