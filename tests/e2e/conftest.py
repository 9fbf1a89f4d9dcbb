"""Fixtures of the end-to-end tests: a server process, started with whatever flags a test wants.

E2E_BINARY is the tandem binary of the build to test. The server under test is the one on the scripted engine of
tests/unit/fake_engine.c beside it, or, with E2E_SERVE, any command that takes the same flags, for example
"build/release/tandem serve model.gguf". Tests that need the script are marked `fake` and skipped then.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from raw import Raw  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMMAND = os.environ.get("E2E_SERVE", "")
BUILD = os.path.dirname(os.environ.get("E2E_BINARY", os.path.join(ROOT, "build", "dev", "tandem")))
FAKE = not COMMAND


def pytest_configure(config):
    config.addinivalue_line("markers", "fake: needs the scripted engine")


def pytest_collection_modifyitems(items):
    for item in items:
        if "fake" in item.keywords and not FAKE:
            item.add_marker(pytest.mark.skip(reason="needs the scripted engine"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, flags, model, log, uds=None, tls=False):
        self.port, self.uds, self.tls = free_port(), uds, tls
        command = (
            shlex.split(COMMAND) if COMMAND else [os.path.join(BUILD, "tests", "unit", "fake_server"), "serve", model]
        )
        where = ["--uds", uds] if uds else ["--port", str(self.port)]
        self.log_path = log
        self.log = open(log, "w")
        self.process = subprocess.Popen(command + where + list(flags), stderr=self.log, stdout=self.log)

    @property
    def url(self):
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def raw(self, **kw):
        return Raw(self.port, uds=self.uds, **kw)

    def wait_listening(self, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self.raw().close()
                return
            except OSError:
                assert self.process.poll() is None, self.logged()
                time.sleep(0.02)
        raise AssertionError("it does not listen")

    def wait_ready(self, seconds=120):
        self.wait_listening()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.tls or self.raw().get("/ready").status == 200:
                return self
            time.sleep(0.02)
        raise AssertionError("it does not get ready")

    def metrics(self):
        """{name or name{labels without model_name}: value}"""
        out = {}
        for line in self.raw().get("/metrics").body.decode().splitlines():
            if line and not line.startswith("#"):
                key, value = line.rsplit(" ", 1)
                key = re.sub(r'model_name="(\\.|[^"\\])*",?', "", key).replace("{}", "")
                out[key] = float(value)
        return out

    def blocks(self):
        m = self.metrics()
        return {
            s: int(m[f'tandem_kv_blocks{{state="{s}"}}'])
            for s in ("free", "cached", "held", "leased", "quarantined", "total")
        }

    def wait_no_blocks_held(self, seconds):
        """Seconds until no block was held."""
        begin = time.monotonic()
        while True:
            b = self.blocks()
            assert b["free"] + b["cached"] + b["held"] + b["leased"] + b["quarantined"] == b["total"], b
            if b["held"] == 0:
                return time.monotonic() - begin
            assert time.monotonic() - begin < seconds, b
            time.sleep(0.01)

    def logged(self):
        self.log.flush()
        with open(self.log_path) as f:
            return f.read()

    def signal(self, sig):
        self.process.send_signal(sig)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("it did not end within 10 s of two SIGTERM\n" + self.logged())
        self.log.close()


@pytest.fixture
def start(tmp_path):
    """start(*flags, model=…, ready=True) → Server; all are stopped at the end, and none may have crashed."""
    servers = []

    def go(*flags, model="fake:step_us=1000", ready=True, uds=None, tls=False):
        s = Server(flags, model, str(tmp_path / f"server{len(servers)}.log"), uds, tls)
        servers.append(s)
        return s.wait_ready() if ready else s

    yield go
    for s in servers:
        s.stop()
        log = open(s.log_path).read()
        assert s.process.returncode >= 0, f"ended by signal {-s.process.returncode}\n{log}"
        assert "ERROR: AddressSanitizer" not in log and "WARNING: ThreadSanitizer" not in log, log


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all tests of a file that leave it as they found it."""
    s = Server([], "fake:step_us=1000", str(tmp_path_factory.mktemp("server") / "log"))
    yield s.wait_ready()
    s.stop()
    log = open(s.log_path).read()
    assert s.process.returncode == 0, log
    assert "ERROR: AddressSanitizer" not in log and "WARNING: ThreadSanitizer" not in log, log
