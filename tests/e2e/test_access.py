"""Who may come in: API keys, TLS, unix sockets."""

import os
import signal
import ssl
import socket
import subprocess
import time
import urllib.request

import pytest

OPEN = ["/health", "/live", "/ready", "/ping", "/metrics", "/v1/models"]
CLOSED = [
    ("GET", "/version"),
    ("GET", "/load"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/tokenize"),
    ("POST", "/detokenize"),
    ("POST", "/v1/completions/render"),
    ("POST", "/v1/chat/completions/render"),
    ("POST", "/inference/v1/generate"),
]


def ask(s, method, path, *headers):
    with s.raw() as c:
        return c.request(method, path, {"prompt": "a", "max_tokens": 1} if method == "POST" else None, headers).answer()


def test_keys(start):
    s = start("--api-key", "one", "--api-key", "two")
    for path in OPEN:
        assert ask(s, "GET", path).status == 200
    for method, path in CLOSED:
        for headers in (
            [],
            ["Authorization: Bearer three"],
            ["Authorization: one"],
            ["Authorization: Basic one"],
            ["Authorization: Bearer"],
            ["Authorization: Bearer "],
            ["Authorization: Bearer onetwo"],
            ["Authorization: Bearer one", "Authorization: Bearer one"],
            ["Authorization: Bearer " + "x" * 20000],
            ["X-Api-Key: one"],
        ):
            a = ask(s, method, path, *headers)
            assert a.status == 401 and a.error["code"] == "invalid_api_key", (path, headers)
            assert a.headers["www-authenticate"] == "Bearer"
    for key in ("Bearer one", "Bearer two", "bearer one", "BEARER two ", " Bearer one\t"):
        assert ask(s, "POST", "/v1/completions", f"Authorization: {key}").status == 200
        assert ask(s, "GET", "/version", f"Authorization: {key}").status == 200
    assert ask(s, "GET", "/v1/models/x").status == 404  # open, like the list
    assert ask(s, "GET", "/nowhere").status == 404


def test_pages_of_other_origins(start):
    body = {"prompt": "a", "max_tokens": 1}
    s = start()
    for origin, status in (
        ("http://evil.example", 401),
        ("null", 401),
        ("http://localhost.evil.example", 401),
        ("http://localhost:3000", 200),
        ("http://127.0.0.1", 200),
        ("http://[::1]:8000", 200),
    ):
        assert s.raw().post("/v1/completions", body, headers=[f"Origin: {origin}"]).status == status, origin
    keyed = start("--api-key", "one")
    headers = ["Origin: http://evil.example", "Authorization: Bearer one"]
    assert keyed.raw().post("/v1/completions", body, headers=headers).status == 200


def test_key_flags(start):
    s = start("--api-key", "one", "--metrics-require-key", "--render-open")
    assert ask(s, "GET", "/metrics").status == 401
    assert ask(s, "GET", "/metrics", "Authorization: Bearer one").status == 200
    assert ask(s, "POST", "/v1/completions/render").status == 200
    assert ask(s, "POST", "/v1/completions").status == 401


def test_key_file_and_reload(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# the keys\n\n  first  \nsecond\r\n")
    s = start("--api-key-file", str(keys))
    for k, status in (("first", 200), ("second", 200), ("third", 401), ("# the keys", 401)):
        assert ask(s, "GET", "/version", f"Authorization: Bearer {k}").status == status
    keys.write_text("third\n")
    s.signal(signal.SIGHUP)
    time.sleep(0.2)
    for k, status in (("first", 401), ("third", 200)):
        assert ask(s, "GET", "/version", f"Authorization: Bearer {k}").status == status
    keys.write_text("\n")
    s.signal(signal.SIGHUP)
    time.sleep(0.2)
    assert ask(s, "GET", "/version", "Authorization: Bearer third").status == 200  # an empty file keeps the old ones
    assert "third" not in s.logged()


@pytest.mark.parametrize(
    "flags,code",
    [
        (["--api-key-file", "/nonexistent"], None),
        (["--ssl-certfile", "/nonexistent", "--ssl-keyfile", "/nonexistent"], 2),
        (["--ssl-certfile", "/x"], 2),
        (["--host", "203.0.113.7"], 5),
        (["--host", "no such host"], 5),
    ],
)
def test_bad_flags(start, flags, code):
    s = start(*flags, ready=False)
    rc = s.process.wait(10)
    assert rc == code if code else rc != 0
    assert s.logged().strip()


DEBUG = [("GET", "/debug/requests"), ("GET", "/debug/blocks"), ("GET", "/debug/blocks/0"), ("POST", "/debug/fault")]


def test_debug_paths_are_closed(start):
    plain, keyed = start(), start("--enable-debug", "--api-key", "one")
    for method, path in DEBUG:
        assert ask(plain, method, path).status == 404
        assert ask(keyed, method, path).status == 401
        assert ask(keyed, method, path, "Authorization: Bearer one").status == (400 if method == "POST" else 200)
    assert ask(keyed, "DELETE", "/debug/blocks", "Authorization: Bearer one").status == 405
    with keyed.raw() as c:
        origin = ["Origin: http://elsewhere.example", "Authorization: Bearer one"]
        assert c.request("GET", "/debug/requests", None, origin).answer().status == 200
    lonely = start("--enable-debug")  # no key, but nobody else reaches it
    assert ask(lonely, "GET", "/debug/requests").status == 200
    assert ask(lonely, "GET", "/debug/requests", "Origin: http://elsewhere.example").status == 401
    refused = start("--enable-debug", "--host", "0.0.0.0", ready=False)
    assert refused.process.wait(10) == 2 and "api-key-file" in refused.logged()


def test_debug_paths(start):
    s = start("--enable-debug")
    for path in ("/debug/blocks/x", "/debug/blocks/-1", "/debug/blocks/99999999999", "/debug/blocks/9999999"):
        assert ask(s, "GET", path).status == 404, path
    assert ask(s, "GET", "/debug/blocks?from=x").status == 400
    assert ask(s, "GET", "/debug/blocks?from=7").status == 200
    for body in ({}, {"kind": "no"}, {"kind": "alloc", "nth": -1}):
        assert s.raw().post("/debug/fault", body).status == 400
    assert s.raw().post("/debug/fault", {"kind": "read", "nth": 3}).json == {"kind": "read", "nth": 3}
    assert s.raw().post("/debug/fault", {"kind": "read", "nth": 0}).status == 200


def test_unix_socket(start, tmp_path):
    path = str(tmp_path / "s.sock")
    s = start(uds=path)
    assert ask(s, "GET", "/v1/models").status == 200
    assert f" on unix:{path}\n" in s.logged()
    second = start(uds=path, ready=False)
    assert second.process.wait(10) == 5
    s.process.kill()
    s.process.wait()
    s.process.returncode = 0
    third = start(uds=path)  # a socket left behind is replaced
    assert ask(third, "GET", "/health").status == 200
    third.signal(signal.SIGTERM)
    assert third.process.wait(5) == 0 and not os.path.exists(path)
    (tmp_path / "file").write_text("x")
    assert start(uds=str(tmp_path / "file"), ready=False).process.wait(10) == 5
    assert start(uds=str(tmp_path / ("x" * 120)), ready=False).process.wait(10) == 5


def make_cert(folder, name, ca=None):
    cert, key = str(folder / f"{name}.pem"), str(folder / f"{name}.key")
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-keyout",
            key,
            "-out",
            cert,
            "-subj",
            f"/CN={name}",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


def peer_name(port, cert=None):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port))) as s:
        der = s.getpeercert(True)
    out = subprocess.run(
        ["openssl", "x509", "-inform", "der", "-noout", "-subject"], input=der, capture_output=True, check=True
    )
    return out.stdout.decode().split("=")[-1].strip()


def test_tls_and_reload(start, tmp_path):
    live = tmp_path / "live"
    live.mkdir()
    for name in ("old", "new"):
        make_cert(tmp_path, name)

    def install(name):
        for end in ("pem", "key"):
            (live / f"tmp.{end}").write_bytes((tmp_path / f"{name}.{end}").read_bytes())
            os.replace(live / f"tmp.{end}", live / f"tls.{end}")

    install("old")
    s = start(
        "--ssl-certfile",
        str(live / "tls.pem"),
        "--ssl-keyfile",
        str(live / "tls.key"),
        "--enable-ssl-refresh",
        tls=True,
    )
    trusted = ssl.create_default_context(cafile=str(tmp_path / "old.pem"))
    with urllib.request.urlopen(s.url + "/v1/models", context=trusted) as r:
        assert r.status == 200
    with trusted.wrap_socket(socket.create_connection(("127.0.0.1", s.port)), server_hostname="127.0.0.1") as kept:
        get = b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n"
        kept.sendall(get)
        assert b"200" in kept.recv(1000)
        assert peer_name(s.port) == "old"
        install("new")
        end = time.monotonic() + 5
        while peer_name(s.port) != "new":
            assert time.monotonic() < end
            time.sleep(0.05)
        kept.sendall(get)  # begun under the old certificate, and still alive
        assert b"200" in kept.recv(1000)
    (live / "tls.key").write_text("broken")
    s.signal(signal.SIGHUP)
    time.sleep(0.5)
    assert peer_name(s.port) == "new" and "old certificate stays" in s.logged()


def test_tls_is_checked_like_plain(start, tmp_path):
    cert, key = make_cert(tmp_path, "a")
    s = start("--ssl-certfile", cert, "--ssl-keyfile", key, tls=True)
    context = ssl.create_default_context(cafile=cert)

    def send(data):
        with context.wrap_socket(socket.create_connection(("127.0.0.1", s.port)), server_hostname="127.0.0.1") as c:
            c.settimeout(5)
            c.sendall(data)
            out = b""
            while b"\r\n\r\n" not in out and (more := c.recv(65536)):
                out += more
            return int(out.split(b" ")[1])

    assert send(b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx") == 400
    assert send(b"GET /health HTTP/1.1\nHost: a\n\n") == 400
    assert send(b"GET /health HTTP/1.1\r\nHost : a\r\n\r\n") == 400
    assert send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n") == 200
    body = b'{"prompt":"' + b"a" * 40000 + b'"}'  # several records
    head = b"POST /tokenize HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    assert send(head + body) == 200
    with s.raw() as plain:  # plain text to the TLS port
        plain.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        while plain._more():
            pass
        assert b"HTTP/" not in plain.buffer


def test_client_certificates(start, tmp_path):
    cert, key = make_cert(tmp_path, "server")
    mine, my_key = make_cert(tmp_path, "client")
    other, other_key = make_cert(tmp_path, "other")
    s = start("--ssl-certfile", cert, "--ssl-keyfile", key, "--ssl-ca-certs", mine, tls=True)
    for pair, good in (((mine, my_key), True), ((other, other_key), False), (None, False)):
        context = ssl.create_default_context(cafile=cert)
        if pair:
            context.load_cert_chain(*pair)
        try:
            with urllib.request.urlopen(s.url + "/health", context=context, timeout=5) as r:
                assert good and r.status == 200
        except OSError:
            assert not good
