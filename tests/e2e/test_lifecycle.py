"""Probes over loading, serving, a stall and draining; signals; clients that leave; queues that fill."""

import json
import os
import random
import signal
import socket
import subprocess
import threading
import time

import pytest
from conftest import BINARY, ROOT, SLOW, free_port
from raw import Raw
from terminal import Terminal

LONG = {"prompt": "a", "max_tokens": 3000, "ignore_eos": True}


def probes(s):
    return {p: s.raw().get(p).status for p in ("/health", "/live", "/ready", "/v1/models", "/ping")}


def stream(s, body=None, path="/v1/completions"):
    """A connection on which a stream has begun."""
    c = s.raw(timeout=30)
    c.request("POST", path, {**LONG, "stream": True, **(body or {})})
    assert c._until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
    c._until(b"data: ")
    return c


def wait_blocks_held(s):
    end = time.monotonic() + 20
    while s.blocks()["held"] == 0:
        assert time.monotonic() < end, "it was over before it was seen"
        time.sleep(0.005)


@pytest.mark.fake
def test_probes_while_loading(start):
    s = start(model="fake:load_ms=1500", ready=False)
    s.wait_listening()
    assert probes(s) == {"/health": 503, "/live": 200, "/ready": 503, "/v1/models": 503, "/ping": 200}
    seen = []
    while (a := s.raw().get("/health")).status != 200:
        assert a.json["status"] == "loading" and a.headers["retry-after"]
        seen.append(a.json["progress"])
        refused = s.raw().post("/v1/completions", {"prompt": "a"})
        assert refused.status in (200, 503) and (refused.status == 200 or refused.headers["retry-after"])
        assert s.raw().get("/metrics").status == 200
        time.sleep(0.1)
    assert seen == sorted(seen) and len(set(seen)) > 3 and 0 <= seen[0] and seen[-1] <= 1
    assert probes(s) == {"/health": 200, "/live": 200, "/ready": 200, "/v1/models": 200, "/ping": 200}


@pytest.mark.fake
def test_load_failure(start):
    s = start(model="fake:fail=1", ready=False)
    assert s.process.wait(10) == 3
    assert "told to fail" in s.logged()


@pytest.mark.fake
def test_sigterm_while_loading(start):
    s = start(model="fake:load_ms=20000", ready=False)
    s.wait_listening()
    begin = time.monotonic()
    s.signal(signal.SIGTERM)
    assert s.process.wait(5) == 0 and time.monotonic() - begin < 2


@pytest.mark.fake
def test_sigterm_while_loading_stands_still(start):
    s = start("--shutdown-timeout", "1", model="fake:load_ms=30000,deaf=1", ready=False)
    s.wait_listening()
    s.signal(signal.SIGTERM)
    assert s.process.wait(15) not in (0, -signal.SIGTERM)
    assert "the process ends around it" in s.logged()


@pytest.mark.fake
def test_probes_while_stalled(start):
    s = start("--health-stall", "1")
    c = s.raw().request("POST", "/v1/completions", {**LONG, "prompt": "!!stall 2500\n"})
    begin = time.monotonic()
    statuses = set()
    while time.monotonic() - begin < 3.5:
        t = time.monotonic()
        statuses.add(s.raw().get("/health").status)
        assert s.raw().get("/live").status == 200
        assert time.monotonic() - t < 0.5
        time.sleep(0.05)
    c.close()
    assert statuses == {200, 503}
    s.wait_no_blocks_held(2)
    assert s.raw().get("/health").status == 200


@pytest.mark.fake
def test_a_stalled_engine_ends_the_process(start):
    """Five times --health-stall without a step: clients hear of it, and the exit status says that a restart is due."""
    s = start("--health-stall", "0.2")
    c = stream(s)
    waiting = s.raw().request("POST", "/v1/completions", {**LONG, "prompt": "!!stall 3600000\n"})
    refused = waiting.answer()
    assert refused.status == 503 and "engine" in refused.error["message"]
    while c._more():
        pass
    assert b'data: {"error":' in c.buffer and b"[DONE]" not in c.buffer
    assert s.process.wait(10) == 70
    lines = [x for x in s.logged().splitlines() if " error " in x]
    assert len(lines) == 1 and "stood still" in lines[0] and " requests running and " in lines[0], s.logged()


@pytest.mark.fake
def test_a_stopped_process_is_no_stalled_engine(start):
    s = start("--health-stall", "1")
    c = stream(s, {"max_tokens": 1500})
    s.signal(signal.SIGSTOP)
    time.sleep(6)  # longer than the watchdog waits
    s.signal(signal.SIGCONT)
    c._until(b"data: [DONE]")
    assert s.raw().get("/live").status == 200


@pytest.mark.fake
def test_a_lost_device_ends_the_process(start):
    s = start()
    c = stream(s)
    assert s.raw().post("/v1/completions", {**LONG, "prompt": "!!fault"}).status == 503
    while c._more():
        pass
    assert b'data: {"error":' in c.buffer and b"[DONE]" not in c.buffer
    assert s.process.wait(10) == 70
    assert "lost its device" in s.logged()


@pytest.mark.both
def test_debug_shows_what_runs(start):
    s = start("--enable-debug")
    if s.kind == "fake":
        return  # it has nothing to show
    c = stream(s)
    row = s.raw().get("/debug/requests").json["running"][0]
    assert row["state"] == "running" and row["computed"] > 0 and row["blocks"] > 0
    blocks = s.raw().get("/debug/blocks").json
    assert blocks["held"] == len([b for b in blocks["blocks"] if b["state"] == "held"]) > 0
    one = s.raw().get(f"/debug/blocks/{blocks['blocks'][0]['block']}").json
    assert len(one["sha256"]) == 64
    # The next step fails as on a device that is lost: clients hear of it, and the process asks to be started again.
    assert s.raw().post("/debug/fault", {"kind": "device"}).status == 200
    while c._more():
        pass
    assert b'data: {"error":' in c.buffer and b"[DONE]" not in c.buffer
    assert s.process.wait(10) == 70


def test_log_goes_above_the_bar(tmp_path):
    """On a terminal a log line takes the bar away, has a line of its own, and the bar is there again below it."""
    tandem = os.path.join(os.path.dirname(BINARY), "tests", "unit", "fake_tandem")
    (tmp_path / "fake:load_ms=3000").write_text("")
    port = free_port()
    t = Terminal([tandem, "serve", str(tmp_path / "fake:load_ms=3000"), "--port", str(port)], dict(os.environ))
    try:
        t.expect(r"loading +\d+ %")
        assert Raw(port).get("/nowhere").status == 404
        t.expect(r"\r\x1b\[K\d{4}-[^\r\n]*/nowhere[^\r\n]*\r\nloading ")
        t.expect(r"\r\x1b\[K\d{4}-[^\r\n]* serving [^\r\n]*\r\n")
        t.signal(signal.SIGTERM)
        assert t.wait() == 0
    finally:
        t.close()


@pytest.mark.parametrize("what", ["!!fault", "!!stall 3600000"])
def test_batch_ends_with_its_engine(tmp_path, what):
    """run-batch on an engine that fails: what was done is kept for --resume, and the status asks for another start."""
    tandem = os.path.join(os.path.dirname(BINARY), "tests", "unit", "fake_tandem")
    model, lines, out = tmp_path / "fake:step_us=1000", tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    model.write_text("")
    prompts = ["!!say good\n"] * 3 + [what + "\n"] + ["!!say late\n"] * 50
    rows = [
        {"custom_id": str(i), "method": "POST", "url": "/v1/completions", "body": {"prompt": p, "max_tokens": 20}}
        for i, p in enumerate(prompts)
    ]
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [tandem, "run-batch", model, "-i", lines, "-o", out, "--concurrency", "1", "--health-stall", "1"]
    done = subprocess.run([str(w) for w in words], capture_output=True, timeout=60)
    assert done.returncode == 70, done.stderr
    kept = [json.loads(x) for x in (tmp_path / "out.jsonl.part").read_text().splitlines()]
    good = [r for r in kept if r["response"] and r["response"]["status_code"] == 200]
    assert len(good) == 3 and len(kept) < 10 and not out.exists()


@pytest.mark.fake
def test_sigterm_while_stalled(start):
    s = start("--health-stall", "1", "--shutdown-timeout", "0")
    waiting = s.raw().request("POST", "/v1/completions", {**LONG, "prompt": "!!stall 3600000\n"})
    while s.metrics()["tandem_requests_open"] < 1:
        time.sleep(0.01)
    time.sleep(0.1)
    s.signal(signal.SIGTERM)
    assert waiting.answer().status == 503
    assert s.process.wait(10) == 70
    assert "stands still" in s.logged()


@pytest.mark.both
def test_drain(start):
    s = start()
    tiny = "E2E_MODEL" in os.environ # as fast as a stream can be
    c = stream(s, {"max_tokens": 700 if s.kind == "fake" else 1500 if tiny else 60})
    idle = s.raw()
    idle.request("GET", "/live").answer()
    s.signal(signal.SIGTERM)
    time.sleep(0.1)
    assert probes(s) == {"/health": 200, "/live": 200, "/ready": 503, "/v1/models": 503, "/ping": 200}
    assert s.raw().get("/health").json["status"] == "draining"
    refused = s.raw().post("/v1/completions", {"prompt": "a"})
    assert refused.status == 503 and refused.headers["retry-after"] and "shutting down" in refused.error["message"]
    while c._more():
        pass
    assert c.buffer.rstrip().endswith(b"0") and b"data: [DONE]" in c.buffer
    assert s.process.wait(5) == 0
    with pytest.raises(OSError):
        s.raw()


@pytest.mark.skipif(not os.access(BINARY, os.X_OK), reason="needs the program")
def test_signals_from_the_start(tmp_path):
    """As soon as the program listens to signals, each does what it says, whether the port is open or not."""
    model = os.path.join(ROOT, "tests", "golden", "tiny", "llama")
    for signals in ([signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2], []):
        with open(tmp_path / "log", "w") as log:
            p = subprocess.Popen([BINARY, "serve", model, "--port", str(free_port())], stdout=log, stderr=log)
        end = time.monotonic() + 20
        caught = 0
        while not caught & 1 << (signal.SIGTERM - 1) and time.monotonic() < end:
            status = open(f"/proc/{p.pid}/status").read()
            caught = int(status.split("SigCgt:")[1].split()[0], 16)
        for s in signals:
            time.sleep(0.01)
            p.send_signal(s)
        if signals:
            time.sleep(0.2)
            assert p.poll() is None, (tmp_path / "log").read_text()
        p.send_signal(signal.SIGTERM)
        assert p.wait(20) == 0, (tmp_path / "log").read_text()


def test_unfinished_bodies_do_not_hold_up_a_drain(start):
    s = start("--shutdown-timeout", "30")
    with s.raw() as late, s.raw() as stuck:
        head = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n"
        stuck.send(head + '{"prom')
        late.send(head + '{"prompt":"a",')
        time.sleep(0.2)
        s.signal(signal.SIGTERM)
        time.sleep(0.2)
        late.send('"max_tokens":1}')
        assert late.answer().status == 200
        assert stuck.answer().status == 503
        assert s.process.wait(8) == 0


def test_drain_when_idle_is_quick(start):
    s = start()
    begin = time.monotonic()
    s.signal(signal.SIGTERM)
    assert s.process.wait(5) == 0 and time.monotonic() - begin < 1.5


@pytest.mark.both
def test_shutdown_timeout_cuts_off(start):
    s = start("--shutdown-timeout", "1")
    c = stream(s)
    begin = time.monotonic()
    s.signal(signal.SIGTERM)
    while c._more():
        pass
    assert b'data: {"error":' in c.buffer and b"[DONE]" not in c.buffer
    assert s.process.wait(5) == 0 and 0.9 < time.monotonic() - begin < 3


@pytest.mark.both
def test_shutdown_timeout_zero(start):
    s = start("--shutdown-timeout", "0")
    c = stream(s)
    s.signal(signal.SIGTERM)
    while c._more():
        pass
    assert b'data: {"error":' in c.buffer and b"[DONE]" not in c.buffer
    assert s.process.wait(5) == 0


@pytest.mark.both
def test_second_signal_stops_now(start):
    s = start()
    c = stream(s)
    waiting = s.raw().request("POST", "/v1/completions", LONG)
    time.sleep(0.2)
    s.signal(signal.SIGTERM)
    time.sleep(0.3)
    begin = time.monotonic()
    s.signal(signal.SIGTERM)
    assert waiting.answer().status == 503
    while c._more():
        pass
    assert b'data: {"error":' in c.buffer and b"[DONE]" not in c.buffer
    assert s.process.wait(5) == 0 and time.monotonic() - begin < 2


def test_port_in_use(start):
    s = start()
    other = start("--port", str(s.port), ready=False)
    assert other.process.wait(10) == 5
    assert str(s.port) in other.logged()
    assert f" on http://127.0.0.1:{s.port}\n" in s.logged()


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@pytest.mark.parametrize("streamed", [True, False])
def test_client_leaves_while_generating(server, how, streamed):
    before = server.metrics()
    if streamed:
        c = stream(server)
    else:
        c = server.raw().request("POST", "/v1/completions", LONG)
        wait_blocks_held(server)
    if how == "reset":
        c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    if how == "half-close":
        c.s.shutdown(socket.SHUT_WR)
    else:
        c.close()
    assert server.wait_no_blocks_held(SLOW) < 0.25 * SLOW
    assert server.metrics()["tandem_requests_open"] == 0
    aborted = 'vllm:request_success_total{finished_reason="abort"}'
    assert server.metrics()[aborted] == before[aborted] + 1
    c.close()
    time.sleep(0.05)
    assert '" 499,' in server.logged().splitlines()[-1] or any(
        'completions" 499,' in line for line in server.logged().splitlines()[-6:]
    )


def test_client_leaves_while_its_prompt_is_computed(server):
    for _ in range(3):
        body = {"prompt": [5 + random.randrange(200)] * 3500, "max_tokens": 500, "ignore_eos": True}
        c = server.raw().request("POST", "/v1/completions", body)
        wait_blocks_held(server)
        c.close()
        assert server.wait_no_blocks_held(SLOW) < 0.25 * SLOW
    assert server.metrics()["tandem_requests_open"] == 0


def test_client_leaves_in_a_long_answer(server):
    for reset in (False, True):
        c = server.raw(rcvbuf=4096).request("POST", "/tokenize", {"prompt": "ab " * 300000})
        assert c._until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
        if reset:
            c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        c.close()
        time.sleep(0.2)
        assert server.metrics()["tandem_requests_open"] == 0


def test_stream_over_http_1_0(server):
    body = b'{"prompt":"a","max_tokens":2,"stream":true}'
    with server.raw() as c:
        head = "POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\n"
        c.send(head + f"Content-Length: {len(body)}\r\n\r\n").send(body)
        head = c._until(b"\r\n\r\n").lower()
        assert b"connection: close" in head and b"chunked" not in head
        while c._more():
            pass
        assert c.buffer.startswith(b"data: {") and c.buffer.endswith(b"data: [DONE]\n\n")


@pytest.mark.fake
def test_client_leaves_while_queued(start):
    s = start("--max-num-seqs", "1")
    running = stream(s)
    waiting = s.raw().request("POST", "/v1/completions", {**LONG, "stream": True})
    while s.metrics()["vllm:num_requests_waiting"] < 1:
        time.sleep(0.01)
    waiting.close()
    begin = time.monotonic()
    while s.metrics()["vllm:num_requests_waiting"] > 0:
        assert time.monotonic() - begin < 0.5
        time.sleep(0.01)
    running.close()
    s.wait_no_blocks_held(1)


@pytest.mark.fake
def test_client_leaves_before_its_request_is_complete(server):
    for part in (
        b"GET /he",
        b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    ):
        for _ in range(50):
            server.raw().send(part).close()
    time.sleep(0.2)
    m = server.metrics()
    assert m["tandem_requests_open"] == 0 and m["tandem_connections"] < 20


def test_random_aborts(server):
    """32 clients that come and go as they like; afterwards every block is back."""
    rng = random.Random(1)
    seeds = [rng.random() for _ in range(32)]
    problems = []

    def one(seed):
        r = random.Random(seed)
        try:
            for _ in range(8):
                body = {
                    "prompt": "x" * r.randrange(1, 300),
                    "max_tokens": r.randrange(1, 200 if server.kind == "fake" else 20),
                    "ignore_eos": True,
                    "n": r.choice([1, 1, 2]),
                    "stream": r.random() < 0.7,
                }
                c = server.raw(timeout=30)
                c.request("POST", "/v1/completions", body)
                action = r.random()
                if action < 0.2:
                    pass
                elif action < 0.5:
                    c.s.settimeout(r.random() * 0.2)
                    try:
                        while c._more():
                            pass
                    except TimeoutError:
                        pass
                elif (a := c.answer()).status != 200:
                    problems.append(a)
                if r.random() < 0.3:
                    c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                c.close()
        except Exception as e:  # noqa: BLE001 - a thread must report what went wrong
            problems.append(e)

    threads = [threading.Thread(target=one, args=(s,)) for s in seeds]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        begin = time.monotonic()
        assert server.raw().get("/health").status == 200
        assert time.monotonic() - begin < 1
        b = server.blocks()
        assert b["free"] + b["cached"] + b["held"] + b["leased"] + b["quarantined"] == b["total"]
        time.sleep(0.05)
    assert problems == []
    server.wait_no_blocks_held(1)
    m = server.metrics()
    assert m["tandem_requests_open"] == 0 and m["vllm:num_requests_running"] == m["vllm:num_requests_waiting"] == 0


@pytest.mark.fake
def test_full_queue(start):
    s = start("--max-num-seqs", "1", "--max-num-queued-reqs", "2")
    held = []
    while s.metrics()["vllm:num_requests_waiting"] < 2:
        held.append(s.raw().request("POST", "/v1/completions", LONG))
        time.sleep(0.05)
        assert len(held) < 10
    begin = time.monotonic()
    for _ in range(20):
        a = s.raw().post("/v1/completions", LONG)
        assert a.status == 429 and a.error["code"] == "rate_limit_exceeded", a
        assert 1 <= int(a.headers["retry-after"]) <= 60
    assert (time.monotonic() - begin) / 20 < 0.1
    for c in held:
        c.close()
    s.wait_no_blocks_held(2)
    assert s.raw().post("/v1/completions", {"prompt": "a", "max_tokens": 1}).status == 200


@pytest.mark.fake
def test_short_memory(start):
    """Beyond 95 % of --max-rss no work is taken in; probes are answered all the same."""
    s = start("--max-rss", "1000")
    a = s.raw().post("/v1/completions", {"prompt": "a", "max_tokens": 1})
    assert a.status == 503 and a.headers["retry-after"] and "memory" in a.error["message"]
    assert s.raw().get("/health").status == 200
    roomy = start("--max-rss", str(8 << 40))
    assert roomy.raw().post("/v1/completions", {"prompt": "a", "max_tokens": 1}).status == 200


@pytest.mark.fake
def test_reader_that_stops(start):
    """A stream that nobody reads is closed, its blocks come back, and others do not notice."""
    s = start("--stream-stall", "1", model="fake:step_us=100,len=60000")
    slow = s.raw(rcvbuf=4096)
    body = {"prompt": "a", "max_tokens": 50000, "stream": True, "ignore_eos": True}
    slow.request("POST", "/v1/completions", body)
    begin = time.monotonic()
    wait_blocks_held(s)
    while s.blocks()["held"]:
        t = time.monotonic()
        assert s.raw().post("/v1/completions", {"prompt": "a", "max_tokens": 2}).status == 200
        assert time.monotonic() - t < 1
        assert t - begin < 15
        time.sleep(0.1)
    assert "takes no data" in s.logged()
    slow.close()


@pytest.mark.fake
def test_reader_that_falls_behind(start):
    """What waits for a client is bounded: its stream is cut long before the client counts as stalled."""
    s = start(model="fake:step_us=100,len=60000")
    body = {"prompt": "a", "max_tokens": 50000, "n": 4, "stream": True, "logprobs": 20, "ignore_eos": True}
    begin = time.monotonic()
    with s.raw(rcvbuf=4096) as slow, s.raw() as quick:
        slow.request("POST", "/v1/completions", body)
        quick.request("POST", "/v1/completions", {**body, "max_tokens": 1000})
        assert quick.answer().body.endswith(b"data: [DONE]\n\n")
        s.wait_no_blocks_held(20)
        assert time.monotonic() - begin < 30
        assert "does not take the stream" in s.logged()
        assert not slow.closed()  # what was sent before is there, the end of the answer is not
        assert b"[DONE]" not in slow.buffer


@pytest.mark.fake
def test_answer_that_is_read_in_drops(start):
    s = start("--stream-stall", "3", "--answer-rate", "1000000")
    whole = s.raw().post("/tokenize", {"prompt": "abc" * 300000})
    assert whole.status == 200 and whole.json["count"] >= 900000
    with s.raw(rcvbuf=65536) as c:
        begin = time.monotonic()
        c.request("POST", "/tokenize", {"prompt": "abc" * 300000})
        while "takes the answer too slowly" not in s.logged():
            assert c.s.recv(20000), s.logged()
            assert time.monotonic() - begin < 15
            time.sleep(0.1)
        assert time.monotonic() - begin > 3
    assert s.metrics()["tandem_connections"] <= 1


@pytest.mark.fake
def test_pings(start):
    s = start("--ping", "0.3")
    with s.raw() as c:
        c.request("POST", "/v1/completions", {"prompt": "!!stall 1500\n", "max_tokens": 2, "stream": True})
        text = c.answer().body
    assert text.count(b": ping\n\n") >= 3 and text.endswith(b"data: [DONE]\n\n")


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.both
def test_idle_costs_nothing(start):
    s = start()
    s.raw().post("/v1/completions", {"prompt": "a", "max_tokens": 3})
    kept = s.raw()
    kept.request("GET", "/live").answer()
    time.sleep(0.3)
    before = cpu_seconds(s.process.pid)
    time.sleep(2)
    assert cpu_seconds(s.process.pid) - before <= 0.01


def test_probes_under_load(server):
    streams = [stream(server) for _ in range(40)]
    worst = 0
    for _ in range(20):
        begin = time.monotonic()
        assert server.raw().get("/health").status == 200
        assert server.raw().get("/metrics").status == 200
        worst = max(worst, time.monotonic() - begin)
        time.sleep(0.02)
    for c in streams:
        c.close()
    assert worst < 1
    server.wait_no_blocks_held(1)


def test_metrics_fit_prometheus(server):
    from prometheus_client.parser import text_string_to_metric_families

    a = server.raw().get("/metrics")
    assert a.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {f.name: f for f in text_string_to_metric_families(a.body.decode())}
    kinds = {n: f.type for n, f in families.items()}
    for name in ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"):
        assert (
            kinds[name] == "gauge" and len(families[name].samples) == 1
        )  # one series: the first is the one that is read
    info = families["vllm:cache_config_info"].samples[0].labels
    assert int(info["block_size"]) > 0 and int(info["num_gpu_blocks"]) > 0
    build = families["tandem_build_info"].samples[0].labels
    assert build["device"] == "cpu" and build["version"] and build["commit"] and build["numerics"]
    assert build["isa"] in ("ref", "avx2", "avx512", "avx512vnni")
    for f in families.values():
        assert f.documentation and f.type != "unknown", f.name
        assert all("model_name" in x.labels for x in f.samples), f.name
    assert len(a.body) < 64 << 10


@pytest.mark.fake
def test_metrics_labels_are_escaped(start):
    from prometheus_client.parser import text_string_to_metric_families

    name = 'a"b\\c\nd'
    s = start("--served-model-name", name, "--served-model-name", "second")
    families = list(text_string_to_metric_families(s.raw().get("/metrics").body.decode()))
    assert all(x.labels["model_name"] == name for f in families for x in f.samples)
    models = s.raw().get("/v1/models").json["data"]
    assert [m["id"] for m in models] == [name, "second"]
    for m in (name, "second"):
        assert s.raw().post("/v1/completions", {"model": m, "prompt": "a", "max_tokens": 1}).json["model"] == m


@pytest.mark.fake
def test_json_log(start):
    s = start("--log-format", "json")
    s.raw().get("/live", headers=["x-request-id: my-id"])
    s.raw().post("/v1/completions", {"prompt": "a", "max_tokens": 3})
    s.raw().get("/x%0a%1b[31m")
    time.sleep(0.1)
    lines = [json.loads(line) for line in s.logged().splitlines()]
    requests = [x for x in lines if x.get("msg") == "request"]
    assert any(x["id"] == "my-id" and x["status"] == 200 and x["path"] == "/live" for x in requests)
    done = [x for x in requests if x["path"] == "/v1/completions"][0]
    assert done["completion_tokens"] == 3 and done["prompt_tokens"] > 0 and done["seconds"] >= 0


@pytest.mark.both
def test_paths_without_log_lines(start):
    s = start("--disable-access-log-for-endpoints", "/health")
    s.raw().get("/health")
    s.raw().get("/live")
    time.sleep(0.1)
    assert '"GET /live"' in s.logged() and "/health" not in s.logged()
