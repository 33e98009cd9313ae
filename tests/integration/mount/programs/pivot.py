"""Makes ROOT the root of its mount namespace, as container runtimes do: pivot.py ROOT.

ROOT is a mount with an empty directory "old" in it. Says "ready" and waits for a line.
"""

import ctypes
import os
import sys

MNT_DETACH = 2
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}[os.uname().machine]

libc = ctypes.CDLL(None, use_errno=True)
os.chdir(sys.argv[1])
assert libc.syscall(SYS_PIVOT_ROOT, b".", b"old") == 0, os.strerror(ctypes.get_errno())
assert libc.umount2(b"/old", MNT_DETACH) == 0, os.strerror(ctypes.get_errno())
print("ready", flush=True)
sys.stdin.readline()
