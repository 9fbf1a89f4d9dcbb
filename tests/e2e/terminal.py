"""A program on a terminal of its own, typed at and read from."""

import os
import pty
import re
import select
import signal
import time


class Terminal:
    def __init__(self, command, env, seconds=60):
        self.seconds, self.seen, self.status = seconds, b"", None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, env)

    def read(self, seconds):
        """What comes within that time, or None at the end."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return b""
        try:
            return os.read(self.fd, 1 << 16) or None
        except OSError:  # the other side is closed
            return None

    def expect(self, pattern, seconds=None):
        """Waits for a pattern in what was not yet looked at, and passes over it; gives what stood before it."""
        pattern = pattern if isinstance(pattern, bytes) else pattern.encode()
        end = time.monotonic() + (seconds or self.seconds)
        while True:
            hit = re.search(pattern, self.seen, re.S)
            if hit:
                before, self.seen = self.seen[:hit.start()], self.seen[hit.end():]
                return before
            assert time.monotonic() < end, f"no {pattern!r} in {self.seen!r}"
            data = self.read(0.1)
            assert data is not None, f"ended before {pattern!r}: {self.seen!r}"
            self.seen += data

    def type(self, keys):
        os.write(self.fd, keys if isinstance(keys, bytes) else keys.encode())

    def paste(self, text):
        """As a terminal that was asked to mark pastes hands it over, with what comes back read meanwhile."""
        data = b"\x1b[200~" + text.encode() + b"\x1b[201~"
        while data:
            _, ready, _ = select.select([], [self.fd], [], 0.05)
            if ready:
                data = data[os.write(self.fd, data[:1024]):]
            self.seen += self.read(0) or b""

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, seconds=None):
        """Its exit status, or minus the signal that ended it."""
        end = time.monotonic() + (seconds or self.seconds)
        while self.status is None:
            assert time.monotonic() < end, f"it does not end: {self.seen!r}"
            data = self.read(0.05)
            self.seen += data or b""
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def close(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)
