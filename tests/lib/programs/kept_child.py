#!/usr/bin/python3
"""A keeper's child that does what the test says, one command at a time, over CONTROL_SOCKET.

A command is a JSON object; the answer is one, too. The first message is what it found at its start.
"""

import array
import ctypes
import json
import os
import platform
import signal
import socket
import sys
import threading

FIRST_FD = 3  # SD_LISTEN_FDS_START
CLONE_FILES = 0x400
LIBC = ctypes.CDLL(None)

control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
signals = []


def notify(text, descriptors=()):
    address = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendmsg(
            [text.encode()],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else [],
            0,
            address,
        )


def memfd(content):
    fd = os.memfd_create("kept")
    os.write(fd, content.encode())
    return fd


class Commands:
    def notify(self, text):
        notify(text)

    def store(self, name, content, more=""):
        fd = memfd(content)
        notify(f"FDSTORE=1\nFDNAME={name}{more}", [fd])
        os.close(fd)

    def store_again(self, place, name):
        notify(f"FDSTORE=1\nFDNAME={name}", [FIRST_FD + place])

    def store_pipe(self, name, more=""):
        """Keeps the read end stored, and the write end open here until close_pipe()."""
        read, self.write = os.pipe()
        notify(f"FDSTORE=1\nFDNAME={name}{more}", [read])
        os.close(read)

    def close_pipe(self):
        os.close(self.write)

    def barrier(self):
        read, write = os.pipe()
        notify("BARRIER=1", [write])
        os.close(write)
        os.read(read, 1)
        os.close(read)

    def contents(self):
        count = int(os.environ.get("LISTEN_FDS", "0"))
        return [os.pread(FIRST_FD + i, 100, 0).decode() for i in range(count)]

    def die(self, number):
        os.kill(os.getpid(), number)

    def exit(self, status):
        os._exit(status)

    def signals(self):
        return signals

    def notify_socket(self):
        return os.environ["NOTIFY_SOCKET"]

    def print_error(self, text):
        print(text, file=sys.stderr, flush=True)

    def catch(self, *numbers):
        for number in numbers:
            signal.signal(number, lambda caught, _: signals.append(caught))

    def fork_stranger(self, text):
        """A process that is not the main one notifies."""
        pid = os.fork()
        if pid == 0:
            notify(text)
            os._exit(0)
        os.waitpid(pid, 0)

    def orphan(self):
        """A grandchild whose parent ends at once, and which ends after this process. Returns its pid."""
        read, self.orphan_end = os.pipe()
        found, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            grandchild = os.fork()
            if grandchild == 0:
                control.close()
                os.close(self.orphan_end)
                os.read(read, 1)
                os._exit(0)
            os.write(tell, grandchild.to_bytes(4, "little"))
            os._exit(0)
        os.waitpid(pid, 0)
        return int.from_bytes(os.read(found, 4), "little")

    def start_helper(self):
        """A process that has inherited all descriptors but one, and ends by a signal only. Returns its pid."""
        pid = os.fork()
        if pid == 0:
            control.close()
            signal.pause()
        return pid

    def close_all(self):
        os.closerange(FIRST_FD, control.fileno())
        os.closerange(control.fileno() + 1, 1024)

    def leave_thread(self):
        """The first thread ends; another one, with no descriptor but its control socket, remains."""
        exit_number = {"x86_64": 60, "aarch64": 93}[platform.machine()]
        is_alone = threading.Event()

        def stay():
            LIBC.unshare(CLONE_FILES)
            os.closerange(FIRST_FD, control.fileno())
            os.closerange(control.fileno() + 1, 1024)
            is_alone.set()
            while control.recv(1):
                pass
            os._exit(0)

        threading.Thread(target=stay).start()
        is_alone.wait()
        LIBC.syscall(exit_number, 0)

    def new_main(self):
        """A new process takes over the control socket and becomes the main process."""
        read, write = os.pipe()
        pid = os.fork()
        if pid > 0:
            notify(f"MAINPID={pid}\nREADY=1")
            os._exit(0)
        os.close(write)
        os.read(read, 1)  # until it was named, as the keeper refuses what it notifies of before
        os.close(read)


def descriptors():
    return sorted(int(fd) for fd in os.listdir("/proc/self/fd"))


def main():
    found = descriptors()
    control.connect(os.environ["CONTROL_SOCKET"])
    names = ("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "WATCHDOG_USEC", "WATCHDOG_PID")
    hello = {name: os.environ.get(name) for name in names}
    control.send(
        json.dumps({**hello, "pid": os.getpid(), "arguments": sys.argv[1:], "descriptors": found,
                    "can_notify": "NOTIFY_SOCKET" in os.environ}).encode()
    )
    commands = Commands()
    while True:
        received = control.recv(65536)
        if not received:
            os._exit(0)
        name, *arguments = json.loads(received)
        answer = getattr(commands, name)(*arguments)
        control.send(json.dumps(answer).encode())


main()
