"""Fixtures of the end-to-end tests: a server process, started with whatever flags a test wants.

E2E_BINARY is the tandem binary of the build to test, E2E_MODELS a folder with the demo model, E2E_MODEL the path of
another to take instead, such as what tiny_model.py writes. Tests run on the scripted engine of
tests/unit/fake_engine.c; those that use the fixture `server`, and those marked `both`, run on the real one as well,
unless they are marked `fake` because they need the script. E2E_SLOW is how many times as long as a plain build's
something may take.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from raw import Raw  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.environ.get("E2E_BINARY", os.path.join(ROOT, "build", "dev", "tandem"))
MODEL = os.environ.get("E2E_MODEL") or os.path.join(
    os.environ.get("E2E_MODELS", ""), "SmolLM2-135M-Instruct.Q4_1.gguf")
SLOW = float(os.environ.get("E2E_SLOW", 1))
REAL = os.access(BINARY, os.X_OK) and os.path.exists(MODEL)


def pytest_configure(config):
    config.addinivalue_line("markers", "fake: needs the scripted engine")
    config.addinivalue_line("markers", "both: on the real engine too, with servers of its own")


def pytest_generate_tests(metafunc):
    if "kind" not in metafunc.fixturenames:
        return
    marks = {m.name for m in metafunc.definition.iter_markers()}
    real = REAL and "fake" not in marks and ("both" in marks or "server" in metafunc.fixturenames)
    metafunc.parametrize("kind", ["fake", "real"] if real else ["fake"], scope="module")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, kind, flags, model, log, uds=None, tls=False):
        self.kind, self.port, self.uds, self.tls = kind, free_port(), uds, tls
        fake = os.path.join(os.path.dirname(BINARY), "tests", "unit", "fake_server")
        command = [fake, "serve", model] if kind == "fake" else [BINARY, "serve", MODEL]
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
            if "serving " in self.logged() if self.tls else self.raw().get("/ready").status == 200:
                return self
            assert self.process.poll() is None, self.logged()
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


def check_log(path):
    with open(path) as f:
        log = f.read()
    assert "ERROR: AddressSanitizer" not in log and "WARNING: ThreadSanitizer" not in log, log


@pytest.fixture
def start(kind, tmp_path):
    """start(*flags, model=…, ready=True) → Server; all are stopped at the end, and none may have crashed."""
    servers = []

    def go(*flags, model="fake:step_us=1000", ready=True, uds=None, tls=False):
        s = Server(kind, flags, model, str(tmp_path / f"server{len(servers)}.log"), uds, tls)
        servers.append(s)
        return s.wait_ready() if ready else s

    yield go
    for s in servers:
        s.stop()
        assert s.process.returncode >= 0, f"ended by signal {-s.process.returncode}\n{s.logged()}"
        check_log(s.log_path)


@pytest.fixture(scope="module")
def server(kind, tmp_path_factory):
    """One server for all tests of a file that leave it as they found it."""
    s = Server(kind, [], "fake:step_us=1000", str(tmp_path_factory.mktemp("server") / "log"))
    yield s.wait_ready()
    s.stop()
    assert s.process.returncode == 0, s.logged()
    check_log(s.log_path)
