"""Tests of real mounts: what consumers see, when, and what becomes of it when things go wrong.

They need root and /dev/fuse. SECRETFS names the binary; without it the debug build's is used.
"""
