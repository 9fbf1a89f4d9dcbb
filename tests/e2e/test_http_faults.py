"""Requests that are wrong below HTTP's surface: each has its expected answer, and the server goes on."""

import socket
import time

import pytest

BODY = b'{"prompt":"a","max_tokens":1}'
HEAD = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


def post(*headers, body=BODY):
    return (HEAD + "".join(h + "\r\n" for h in headers) + "\r\n").encode() + body


CASES = {
    "two lengths": (post("Content-Length: 29", "Content-Length: 3"), 400),
    "two equal lengths": (post("Content-Length: 29", "Content-Length: 29"), 400),
    "list of lengths": (post("Content-Length: 29, 29"), 400),
    "length and chunked": (post("Content-Length: 29", "Transfer-Encoding: chunked"), 400),
    "chunked and length": (post("Transfer-Encoding: chunked", "Content-Length: 29"), 400),
    "unknown coding": (post("Transfer-Encoding: xchunked"), 400),
    "gzip, chunked": (post("Transfer-Encoding: gzip, chunked"), 400),
    "coding twice": (post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400),
    "negative length": (post("Content-Length: -1"), 400),
    "signed length": (post("Content-Length: +29"), 400),
    "length 1e30": (post("Content-Length: 1e30"), 400),
    "length of 40 digits": (post("Content-Length: " + "9" * 40), 413),
    "length above the limit": (post(f"Content-Length: {(16 << 20) + 1}"), 413),
    "hexadecimal length": (post("Content-Length: 0x1d"), 400),
    "empty length": (post("Content-Length:"), 400),
    "chunk size of many digits": (post("Transfer-Encoding: chunked", body=b"ffffffffffffffff\r\n"), 413),
    "chunk above the limit": (post("Transfer-Encoding: chunked", body=b"1000001\r\n"), 413),
    "chunk size no number": (post("Transfer-Encoding: chunked", body=b"zz\r\n"), 400),
    "chunk without size": (post("Transfer-Encoding: chunked", body=b"\r\n"), 400),
    "negative chunk": (post("Transfer-Encoding: chunked", body=b"-1\r\n"), 400),
    "chunk with bare LF": (post("Transfer-Encoding: chunked", body=b"1d\n" + BODY), 400),
    "chunk longer than its size": (post("Transfer-Encoding: chunked", body=b"1\r\nabc\r\n0\r\n\r\n"), 400),
    "trailer": (post("Transfer-Encoding: chunked", body=b"1d\r\n" + BODY + b"\r\n0\r\nX: y\r\n\r\n"), 400),
    "long chunk extension": (post("Transfer-Encoding: chunked", body=b"1;" + b"a" * 200 + b"\r\n"), 400),
    "bare LF": (b"GET /health HTTP/1.1\nHost: a\n\n", 400),
    "bare LF in headers": (b"GET /health HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
    "bare CR": (b"GET /health HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", 400),
    "NUL in a value": (b"GET /health HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    "NUL in the path": (b"GET /health\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "control character": (b"GET /health HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", 400),
    "space before colon": (b"GET /health HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    "space in a name": (b"GET /health HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n", 400),
    "no colon": (b"GET /health HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", 400),
    "folded line": (b"GET /health HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", 400),
    "empty name": (b"GET /health HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n", 400),
    "no Host": (b"GET /health HTTP/1.1\r\n\r\n", 400),
    "two Host": (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "64 KB header": (b"GET /health HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 65536 + b"\r\n\r\n", 431),
    "5000 headers": (b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 5000 + b"\r\n", 431),
    "101 headers": (b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 100 + b"\r\n", 431),
    "64 KB path": (b"GET /" + b"a" * 65536 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "endless path": (b"GET /" + b"a" * 65536, 414),
    "endless method": (b"G" * 65536, 414),
    "HTTP/0.9": (b"GET /health\r\n", 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/1.2": (b"GET /health HTTP/1.2\r\nHost: a\r\n\r\n", 400),
    "lower-case version": (b"GET /health http/1.1\r\nHost: a\r\n\r\n", 400),
    "two spaces": (b"GET  /health HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "tab": (b"GET\t/health HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "absolute target": (b"GET http://a/health HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "fragment": (b"GET /health#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "raw UTF-8 in the path": ("GET /hé HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 400),
    "TLS to the plain port": (bytes.fromhex("16030100c8010000c40303") + b"\0" * 64, 400),
    "garbage": (b"\xff\xfe\xfd\r\n\r\n", 400),
    "odd expectation": (post("Content-Length: 29", "Expect: 200-ok"), 400),
    "HTTP/1.0 chunked": (b"POST /v1/completions HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "1500 arguments": (b"GET /health?" + b"a&" * 1500 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "1500 cookies": (b"GET /health HTTP/1.1\r\nHost: a\r\nCookie: " + b"a=b; " * 1500 + b"\r\n\r\n", 431),
    "compressed body": (post("Content-Length: 29", "Content-Encoding: gzip"), 415),
    "form": (
        b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 29\r\n\r\n" + BODY,
        415,
    ),
    "no content type": (b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 29\r\n\r\n" + BODY, 415),
    "text that begins like JSON": (
        b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/jsonx\r\n"
        b"Content-Length: 29\r\n\r\n" + BODY,
        415,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_refused(server, name):
    data, status = CASES[name]
    with server.raw() as c:
        try:
            c.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it answered before all of it was there
        a = c.answer()
        assert a.status == status, a
        assert a.headers["content-type"] == "application/json"
        assert a.error["message"]
        if status != 415:  # framing cannot be trusted after it
            assert a.headers["connection"] == "close"
            assert c.closed()
    assert server.raw().get("/health").status == 200


@pytest.mark.parametrize("size", [1, 7, 64])
def test_every_split(server, size):
    """The same request in small pieces is the same request."""
    data = post(
        "Transfer-Encoding: chunked", body=b"a;x=1\r\n" + BODY[:10] + b"\r\n13\r\n" + BODY[10:] + b"\r\n0\r\n\r\n"
    )
    with server.raw() as c:
        for i in range(0, len(data), size):
            c.send(data[i : i + size])
        assert c.answer().status == 200


@pytest.mark.parametrize("before,after", [(" ", " "), ("\t", "\t"), ("", "  \t"), (" \t ", "")])
def test_blanks_around_values(server, before, after):
    """They are no part of a value: not for us and not for the library behind the guard."""
    for framing, body in (
        (f"Content-Length:{before}29{after}", BODY),
        (f"Transfer-Encoding:{before}chunked{after}", b"1d\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ):
        with server.raw() as c:
            c.send(post(framing, body=body) + b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
            assert c.answer().status == 200
            assert c.answer().body == b'{"status":"ok"}'


def test_clients_that_leave_early_hold_nothing(server):
    def connections():
        return server.metrics()["tandem_connections"]

    before = connections()
    for i in range(60):
        with server.raw() as c:
            c.send(b"GET /live HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked \r\n\r\n0\r\n\r\n"[: 50 + i])
    end = time.monotonic() + 8
    while connections() > before and time.monotonic() < end:
        time.sleep(0.1)
    assert connections() <= before


def test_pipelined(server):
    one = b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n"
    with server.raw() as c:
        c.send(one * 20 + post("Content-Length: 29") + one)
        for i in range(20):
            assert c.answer().body == b'{"status":"ok"}'
        assert c.answer().json["object"] == "text_completion"
        assert c.answer().status == 200


def test_second_request_is_checked_too(server):
    with server.raw() as c:
        c.send(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n" + post("Content-Length: 29", "Content-Length: 3"))
        assert c.answer().status == 200
        assert c.answer().status == 400
        assert c.closed()


def test_smuggled_request_is_not_answered(server):
    hidden = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"
    with server.raw() as c:
        c.send(post("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + hidden))
        assert c.answer().status == 400
        assert c.closed()


def test_keep_alive_and_close(server):
    with server.raw() as c:
        for i in range(5):
            assert c.request("GET", "/live").answer().status == 200
        c.request("GET", "/live", headers=["Connection: close"])
        assert c.answer().status == 200
        assert c.closed()
    with server.raw() as c:
        c.send("GET /live HTTP/1.0\r\n\r\n")
        assert c.answer().status == 200
        assert c.closed()


def test_half_closed_client_gets_a_short_answer(server):
    with server.raw() as c:
        c.send("GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
        c.s.shutdown(socket.SHUT_WR)
        assert c.answer().status == 200
        assert c.closed()


def test_expect_continue(server):
    with server.raw() as c:
        c.send(HEAD + "Content-Length: 29\r\nExpect: 100-continue\r\n\r\n")
        assert c._until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        assert c.send(BODY).answer().status == 200


def test_large_refused_body_gets_its_answer(server):
    """The refusal comes early, and the client can read it although it is still sending."""
    with server.raw() as c:
        c.send("POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 8000000\r\n\r\n")
        try:
            for i in range(80):
                c.send(b"x" * 100000)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert c.answer().status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../admin",
        "/%2e%2e/v1/models",
        "//v1/models",
        "/V1/models",
        "/v1/models/",
        "/v1//models",
        "/v1/%6dodels",
        "/health/",
        "/health%00",
        "/v1",
        "/v1/completions/render/x",
        "*",
        "/",
    ],
)
def test_odd_paths(server, path):
    assert server.raw().get(path).status == 404


@pytest.mark.parametrize(
    "method,path,allow",
    [
        ("GET", "/v1/completions", "POST"),
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("PUT", "/metrics", "GET, HEAD"),
        ("OPTIONS", "/v1/chat/completions", "POST"),
        ("BREW", "/health", "GET, HEAD"),
    ],
)
def test_wrong_method(server, method, path, allow):
    with server.raw() as c:
        a = c.request(method, path).answer()
        assert a.status == 405 and a.headers["allow"] == allow
        assert a.error["param"] is None


def test_head(server):
    with server.raw() as c:
        a = c.request("HEAD", "/health").answer(head_only=True)
        assert a.status == 200 and int(a.headers["content-length"]) > 0
        assert c.request("GET", "/live").answer().status == 200


def test_slow_head(start):
    s = start("--header-timeout", "1")
    with s.raw() as c:
        begin = time.monotonic()
        try:
            for ch in "GET /health HTTP/1.1\r\nHost: abcdef\r\n":
                c.send(ch)
                time.sleep(0.1)
        except (BrokenPipeError, ConnectionResetError):
            pass
        a = c.answer()
        assert a.status == 408 and a.error["message"]
        assert 0.9 < time.monotonic() - begin < 6
    with s.raw() as c:  # says nothing at all
        begin = time.monotonic()
        assert c.closed()
        assert 0.9 < time.monotonic() - begin < 4


def test_slow_body(start):
    s = start("--header-timeout", "1", "--body-timeout", "3")
    with s.raw() as c:
        c.send(HEAD + "Content-Length: 2000\r\n\r\n")
        begin = time.monotonic()
        assert c.answer().status == 408  # below the least rate
        assert time.monotonic() - begin < 4
    with s.raw() as c:
        c.send(HEAD + "Content-Length: 16000000\r\n\r\n")
        begin = time.monotonic()
        try:
            while time.monotonic() - begin < 8:
                c.send(b"x" * 2000)
                time.sleep(0.2)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert c.answer().status == 408  # quick enough, but too long
        assert 2.5 < time.monotonic() - begin < 7


def test_paths_without_a_body_take_none(server):
    for method, path in (("GET", "/live"), ("POST", "/ping"), ("GET", "/metrics")):
        with server.raw() as c:
            begin = time.monotonic()
            c.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 15000000\r\n\r\n")
            a = c.answer()
            assert a.status == 413 and a.error["code"] == "request_too_large"
            assert time.monotonic() - begin < 2
    with server.raw() as c:  # a small one is read and dropped
        c.send(b"GET /live HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert c.answer().status == 200
        assert c.answer().status == 200


def test_deadline_while_the_body_is_awaited(server):
    with server.raw() as c:
        c.send(HEAD + "Content-Length: 2000\r\nx-request-timeout: 0.5\r\n\r\n{")
        begin = time.monotonic()
        a = c.answer()
        assert a.status == 504 and a.error["code"] == "deadline_exceeded"
        assert 0.4 < time.monotonic() - begin < 5
        assert c.closed()


def test_connection_limit_is_answered(start):
    s = start("--connections-max", "8")
    time.sleep(0.2)  # until it saw the first probes leave
    held = [s.raw() for _ in range(8)]
    time.sleep(0.2)
    with s.raw() as c:
        a = c.request("GET", "/v1/models").answer()
        assert a.status == 503 and a.headers["retry-after"]
        assert c.closed()
    for probe in ("/health", "/live", "/ready", "/ping", "/metrics?a"):  # some connections are kept for them
        assert s.raw().get(probe).status == 200
    with s.raw() as c:
        assert c.request("GET", "/ready").answer().status == 200
        assert c.request("GET", "/readyx").answer().status == 503
        assert c.closed()
    begin = time.monotonic()
    more = [s.raw() for _ in range(31)]
    with s.raw() as silent, s.raw() as refused:
        assert refused.answer().status == 503  # without being asked
        assert silent.closed()
        assert 1 < time.monotonic() - begin < 5
    for m in more:
        assert m.closed()
    for h in held:
        assert h.request("GET", "/health").answer().status == 200
        h.close()
    time.sleep(0.2)
    assert s.raw().get("/health").status == 200


def test_thousand_idle_connections(server):
    held = [server.raw() for _ in range(1000)]
    begin = time.monotonic()
    assert server.raw().get("/health").status == 200
    assert time.monotonic() - begin < 1
    assert server.metrics()["tandem_connections"] >= 1000
    for h in held:
        h.close()
