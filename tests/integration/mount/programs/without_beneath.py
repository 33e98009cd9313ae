"""Runs a command on a kernel that knows no MOVE_MOUNT_BENEATH, as before 6.5: without_beneath.py
COMMAND ARG...

A seccomp filter answers move_mount(2) with EINVAL if that flag is set, as such a kernel does.
"""

import ctypes
import os
import struct
import sys

SYS_MOVE_MOUNT = 429
MOVE_MOUNT_BENEATH = 0x200
EINVAL = 22
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000
LOAD_WORD, JUMP_EQUAL, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
NUMBER_AT, FLAGS_AT = 0, 16 + 4 * 8  # in struct seccomp_data: nr, and the low half of args[4]

PROGRAM = [
    (LOAD_WORD, 0, 0, NUMBER_AT),
    (JUMP_EQUAL, 0, 3, SYS_MOVE_MOUNT),
    (LOAD_WORD, 0, 0, FLAGS_AT),
    (JUMP_ANY_BIT, 0, 1, MOVE_MOUNT_BENEATH),
    (RETURN, 0, 0, RET_ERRNO | EINVAL),
    (RETURN, 0, 0, RET_ALLOW),
]

code = b"".join(struct.pack("HBBI", *instruction) for instruction in PROGRAM)
buffer = ctypes.create_string_buffer(code, len(code))
filter_program = ctypes.create_string_buffer(
    struct.pack("HxxxxxxQ", len(PROGRAM), ctypes.addressof(buffer))
)
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_program, 0, 0) != 0:
    sys.exit(f"no seccomp filter: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
