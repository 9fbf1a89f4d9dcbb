"""chat as a person meets it: on a terminal with line editing, and against servers, good and bad ones."""

import fcntl
import http.server
import json
import os
import signal
import struct
import subprocess
import termios
import threading
import time

import pytest

from conftest import BINARY, MODEL, REAL
from terminal import Terminal
from test_access import make_cert

pytestmark = pytest.mark.skipif(not os.access(BINARY, os.X_OK), reason="needs the binary")
ENV = {k: v for k, v in os.environ.items() if not k.startswith(("TANDEM_", "LC_", "LANG"))}


# ---------------------------------------------------------------- a scripted server


class Script(http.server.BaseHTTPRequestHandler):
    """Answers with what `say` says of the request: chunks to stream, or (status, type, body)."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, kind, body):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.server.heads.append(dict(self.headers))
        if self.server.models is None:
            return self.reply(404, "text/plain", b"what?")
        self.reply(200, "application/json", json.dumps({"data": [{"id": m} for m in self.server.models]}).encode())

    def do_POST(self):
        self.server.heads.append(dict(self.headers))
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, asked))
        answer = self.server.say(asked)
        if isinstance(answer, tuple):
            return self.reply(*answer)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for piece in answer:
                self.wfile.write(piece)
                self.wfile.flush()
        except OSError:
            self.server.left.set()


def delta(text, **more):
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}, **more}]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def echo(asked):
    last = asked["messages"][-1]["content"]
    return [delta(c) for c in f"{len(asked['messages'])}:{last}"] + [DONE]


@pytest.fixture
def script():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Script)
    server.daemon_threads = True
    server.models, server.asked, server.heads, server.say = ["first", "second"], [], [], echo
    server.left = threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def chat(*words, stdin="", timeout=60, env=None):
    done = subprocess.run([BINARY, "chat", *map(str, words)], input=stdin.encode(), capture_output=True, timeout=timeout,
                          env={**ENV, **(env or {})})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


# ---------------------------------------------------------------- servers


def test_a_conversation_with_a_server(script):
    status, out, err = chat("--url", script.url, "--system", "Be brief.", stdin="one\ntwo\n/reset\nthree\n")
    assert (status, out) == (0, "2:one\n4:two\n2:three\n"), err
    paths, bodies = zip(*script.asked)
    assert set(paths) == {"/v1/chat/completions"}
    assert [m["role"] for m in bodies[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert bodies[1]["messages"][2]["content"] == "2:one"
    assert bodies[0]["model"] == "first" and bodies[0]["stream"] is True
    assert set(bodies[0]) == {"model", "stream", "messages"}  # the server's own defaults hold


def test_what_is_given_is_sent(script):
    status, out, err = chat("--url", script.url + "/v1/", "--model", 'my "model"', "-p", "a\\b\n\"c\"", "--temperature",
                            "0.25", "-n", "7", "--seed", "9007199254740993", "--stop", "x", "--stop", 'y"', "--top-k", "5",
                            "--stop-token-ids", "1,2", "--ignore-eos")
    assert (status, out) == (0, '1:a\\b\n"c"\n'), err
    body = script.asked[0][1]
    assert body["messages"] == [{"role": "user", "content": "a\\b\n\"c\""}]
    assert {k: body[k] for k in body if k not in ("messages", "stream")} == {
        "model": 'my "model"', "temperature": 0.25, "max_tokens": 7, "seed": 9007199254740993, "stop": ["x", 'y"'],
        "top_k": 5, "stop_token_ids": [1, 2], "ignore_eos": True}


def test_keys(script, tmp_path):
    assert chat("--url", script.url, "-p", "x")[0] == 0
    assert not any("authorization" in {k.lower() for k in h} for h in script.heads)
    (tmp_path / "keys").write_text("from-file\nother\n")
    for words, env, key in [(["--api-key", "k1"], {}, "k1"), (["--api-key-file", tmp_path / "keys"], {}, "from-file"),
                            ([], {"TANDEM_API_KEY": "k2"}, "k2")]:
        script.heads.clear()
        assert chat("--url", script.url, "-p", "x", *words, env=env)[0] == 0
        assert [dict((k.lower(), v) for k, v in h.items())["authorization"] for h in script.heads] == [f"Bearer {key}"] * 2
    script.say = lambda _: (401, "application/json", b'{"error":{"message":"no"}}')
    status, out, err = chat("--url", script.url, "-p", "x", "--api-key", "secret-key")
    assert (status, out) == (1, "") and "--api-key" in err and "secret-key" not in err


@pytest.mark.parametrize("answer, shown, said", [
    ((200, "application/json", b'{"choices":[{"message":{"content":"whole"}}]}'), "whole\n", None),
    ((200, "application/json", b'{\n "choices": [\n  {"message": {"content": "indented"}}\n ]\n}'), "indented\n", None),
    ((500, "application/json", b'{"error":{"message":"it \x1b[31mbroke"}}'), "", "500"),
    ((400, "application/json", b'{"error":{"message":"prompt too long"}}'), "", "prompt too long"),
    ((404, "text/html", b"<html>nothing here</html>"), "", "OpenAI-compatible"),
    ((200, "text/html", b"<html>hello</html>"), "", "OpenAI-compatible"),
    ([delta("half "), b'data: {"error":{"message":"out of luck"}}\n\n'], "half \n", "out of luck"),
    ([delta("half "), b"data: {broken\n\n"], "half \n", "byte"),
    ([b": ping\n\nevent: x\nid: 7\r\ndata:" + delta("a")[6:].replace(b"\n\n", b"\r\n\r\n"), DONE], "a\n", None),
    ([delta("\x1b[2Jx"), DONE], "\x1b[2Jx\n", None),
    ([], "", "no answer"),
])
def test_answers_of_every_kind(script, answer, shown, said):
    script.say = lambda _: answer
    status, out, err = chat("--url", script.url, "-p", "x")
    assert out == shown
    assert (status == 0 and err == "") if said is None else (status == 1 and said in err and "\x1b" not in err), err


def test_a_turn_that_fails_is_taken_back(script):
    answers = iter([echo, lambda _: (500, "application/json", b"{}"), echo])
    script.say = lambda asked: next(answers)(asked)
    status, out, err = chat("--url", script.url, stdin="one\ntwo\nthree\n")
    assert out == "1:one\n3:three\n" and "500" in err
    assert status == 1


def test_no_server():
    status, _, err = chat("--url", "http://127.0.0.1:9", "-p", "x")
    assert status == 1 and "127.0.0.1:9" in err and "is a server there" in err


def test_no_models(script):
    script.models = []
    status, _, err = chat("--url", script.url, "-p", "x")
    assert status == 1 and "--model" in err
    assert chat("--url", script.url, "-p", "x", "--model", "m")[0] == 0


@pytest.mark.parametrize("words, part", [
    (["--url", "localhost:8000"], "http://HOST:PORT"),
    (["--url", "file:///etc/passwd"], "http://HOST:PORT"),
    (["m.gguf", "--url", "http://127.0.0.1:9"], "not both"),
    (["m.gguf", "--model", "x"], "--url"),
    ([], "--url"),
    (["a", "b"], "one word too many"),
])
def test_wrong_usage(words, part):
    status, out, err = chat(*words)
    assert (status, out) == (2, "") and part in err


@pytest.mark.both
def test_our_own_server(start):
    url = start("--api-key", "k").url
    status, out, err = chat("--url", url, "--api-key", "k", "-p", "Say hello.", "-n", "6", "--temperature", "0")
    assert status == 0 and out.strip(), err
    status, out, err = chat("--url", url, "-p", "x")
    assert status == 1 and "--api-key" in err
    status, out, err = chat("--url", url, "--api-key", "k", "--model", "other", "-p", "x")
    assert status == 1 and "other" in err and "404" in err


def test_a_server_behind_tls(start, tmp_path):
    mine, key = make_cert(tmp_path, "mine")
    other, _ = make_cert(tmp_path, "other")
    url = start("--ssl-certfile", mine, "--ssl-keyfile", key, tls=True).url
    status, out, err = chat("--url", url, "--ssl-ca-certs", mine, "-p", "hi", "-n", "3")
    assert status == 0 and out.strip(), err
    for words in ([], ["--ssl-ca-certs", other], ["--ssl-ca-certs", "/nonexistent"]):
        status, out, err = chat("--url", url, "-p", "hi", *words)
        assert (status, out) == (1, "") and "--ssl-ca-certs" in err, err


def test_a_stream_that_is_cut(script):
    script.say = lambda _: [delta("half "), delta("a word")]
    status, out, err = chat("--url", script.url, "-p", "x")
    assert (status, out) == (0, "half a word\n") and "may not be complete" in err
    script.say = lambda _: [delta("all", finish_reason="stop")]
    status, out, err = chat("--url", script.url, "-p", "x")
    assert (status, out, err) == (0, "all\n", "")


# ---------------------------------------------------------------- on a terminal


@pytest.fixture
def terminal(tmp_path):
    """terminal(*words) → Terminal with a `tandem chat` in it; TERM and files as `env` says."""
    open_ones = []

    def go(*words, **env):
        t = Terminal([BINARY, "chat", *map(str, words)],
                     {**ENV, "TERM": "xterm", "XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path), **env})
        open_ones.append(t)
        return t

    yield go
    for t in open_ones:
        t.close()


PROMPT = "\x1b\\[\\?2004h.*?> "  # pasted text is marked while a line is edited
UP, DOWN, LEFT, HOME = b"\x1b[A", b"\x1b[B", b"\x1b[D", b"\x1b[H"


def has_editor():
    done = subprocess.run([BINARY, "version", "--json"], capture_output=True, env=ENV, check=True)
    return json.loads(done.stdout)["libraries"]["libedit"] != "none"


needs_editor = pytest.mark.skipif(os.access(BINARY, os.X_OK) and not has_editor(), reason="built without libedit")


def ask(t, script, keys, text):
    """Types keys and looks at what the server is asked for."""
    count = len(script.asked)
    t.type(keys)
    end = time.monotonic() + 60
    while len(script.asked) == count and time.monotonic() < end:
        t.seen += t.read(0.05) or b""
    assert script.asked[count:] and script.asked[-1][1]["messages"][-1]["content"] == text, t.seen
    t.expect(PROMPT)


@needs_editor
def test_line_editing(script, terminal):
    t = terminal("--url", script.url)
    t.expect(PROMPT)
    ask(t, script, b"helo\x7f\x7fllo\r", "hello")
    ask(t, script, "wörld 東京".encode() + LEFT * 4 + b"X" + HOME + b">\r", ">wörlXd 東京")
    ask(t, script, b"one two\x17three\r", "one three")  # Ctrl-W
    ask(t, script, b"gone\x15here\r", "here")           # Ctrl-U
    ask(t, script, UP * 2 + b"!\r", "one three!")
    ask(t, script, b"\x12hel\r", "hello")               # Ctrl-R; Enter takes what was found
    ask(t, script, b"a\x1b\rb\r", "a\nb")               # Alt-Enter
    ask(t, script, b"c\\\rd\\\re\r", "c\nd\ne")
    ask(t, script, b"\x1b[200~one\ntwo \\\r/exit\x1b[201~!\r", "one\ntwo \\\n/exit!")
    ask(t, script, b"\xff\xfe?\r", "\ufffd\ufffd?")
    long = "0123456789\n" * 400
    t.paste(long)
    ask(t, script, b"!\r", long + "!")
    t.paste("too long\r" * 16000)  # nothing of it is taken for keys
    t.expect("\a")
    ask(t, script, b"short\r", "short")
    t.type(b"\x04")
    assert t.wait() == 0


@needs_editor
def test_history_outlives_the_program(script, terminal, tmp_path):
    for first, keys, text in [(True, b"f\xc3\xbcr sp\xc3\xa4ter\r", "für später"), (False, UP * 2 + b"!\r", "für später!")]:
        t = terminal("--url", script.url)
        t.expect(PROMPT)
        ask(t, script, keys, text)
        if first:
            ask(t, script, b"x\x1b\ry\r", "x\ny")
            ask(t, script, b"x\x1b\ry\r", "x\ny")
            ask(t, script, UP + UP + b"\r", "für später")
        t.type(b"/exit\r")
        assert t.wait() == 0
    file = tmp_path / "state" / "tandem" / "chat_history"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [json.loads(x) for x in file.read_text().splitlines()][:2] == ["für später", "x\ny"]
    # A file that has grown is shortened, one with nonsense is read as far as it goes.
    file.write_text("".join(f'"line {i}"\n' for i in range(2500)) + "nonsense\n\n7\n")
    t = terminal("--url", script.url)
    t.expect(PROMPT)
    ask(t, script, UP + b"\r", "line 2499")
    t.type(b"\x04")
    assert t.wait() == 0
    assert len(file.read_text().splitlines()) == 1001
    # Kept elsewhere, or nowhere.
    for place, kept in [(str(tmp_path / "mine"), True), ("none", False), ("/dev/full", False), ("/proc/x/y", False)]:
        before = file.read_bytes()
        t = terminal("--url", script.url, "--history", place)
        t.expect(PROMPT)
        ask(t, script, b"private\r", "private")
        t.type(b"\x04")
        assert t.wait() == 0
        assert (tmp_path / "mine").exists() and file.read_bytes() == before


def endless(left):
    def say(_):
        while not left.is_set():
            yield delta("la ")
            time.sleep(0.01)
    return say


@needs_editor
def test_ctrl_c_stops_the_answer_and_not_the_program(script, terminal):
    t = terminal("--url", script.url)
    t.expect(PROMPT)
    script.say = endless(script.left)
    t.type(b"sing\r")
    t.expect("la la la ")
    t.type(b"\x03")
    t.expect(PROMPT, 10)
    assert script.left.wait(10)  # the server noticed
    script.say = echo
    ask(t, script, b"more\r", "more")
    assert [m["role"] for m in script.asked[-1][1]["messages"]] == ["user", "assistant", "user"]
    assert script.asked[-1][1]["messages"][1]["content"].startswith("la la la ")
    t.type(b"half a li\x03")
    t.expect("/exit or Ctrl-D ends\r\n" + PROMPT)
    ask(t, script, b"ne\r", "ne")
    t.type(b"half\x03")
    t.expect("Ctrl-D ends\r\n" + PROMPT)
    time.sleep(2.1)
    t.type(b"half\x03")  # not at once: another line dropped, and nothing more
    t.expect("Ctrl-D ends\r\n" + PROMPT)
    script.left.clear()
    script.say = endless(script.left)
    t.type(b"sing\r")
    t.expect("la la la ")
    t.type(b"\x04")  # typed ahead
    script.left.set()
    assert t.wait() == 0


@needs_editor
def test_signals_and_sizes(script, terminal):
    t = terminal("--url", script.url)
    t.expect(PROMPT)
    t.type(b"before ")
    t.expect("before ")
    fcntl.ioctl(t.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 20, 0, 0))
    t.expect("before")  # drawn again
    t.signal(signal.SIGSTOP)
    cooked = termios.tcgetattr(t.fd)
    cooked[3] |= termios.ICANON | termios.ECHO  # as a shell leaves it
    termios.tcsetattr(t.fd, termios.TCSANOW, cooked)
    t.signal(signal.SIGCONT)
    t.expect("before")
    assert not termios.tcgetattr(t.fd)[3] & termios.ICANON
    ask(t, script, b"after\r", "before after")
    t.type(b"text")
    t.expect("text")
    t.signal(signal.SIGTERM)
    assert t.wait() == 0
    assert termios.tcgetattr(t.fd)[3] & termios.ICANON  # the terminal is as it was
    t = terminal("--url", script.url)
    t.expect(PROMPT)
    script.say = endless(script.left)
    t.type(b"sing\r")
    t.expect("la la ")
    t.signal(signal.SIGTERM)
    assert t.wait() == 0


@needs_editor
def test_commands(script, terminal):
    t = terminal("--url", script.url)
    t.expect(PROMPT)
    t.type(b"/help\r")
    assert b"/retry" in t.expect(PROMPT)
    t.type(b"/retry\r")
    assert b"no answer yet" in t.expect(PROMPT)
    ask(t, script, b"one\r", "one")
    ask(t, script, b"/retry\r", "one")
    assert [m["role"] for m in script.asked[-1][1]["messages"]] == ["user"]
    t.type(b"/system  Be brief.\r")
    t.expect(PROMPT)
    ask(t, script, b"two\r", "two")
    assert script.asked[-1][1]["messages"][0] == {"role": "system", "content": "Be brief."}
    t.type(b"/reset\r")
    t.expect(PROMPT)
    ask(t, script, b"three\r", "three")
    assert [m["role"] for m in script.asked[-1][1]["messages"]] == ["system", "user"]
    t.type(b"/system\r")
    t.expect(PROMPT)
    ask(t, script, b"/usr/bin/env is what?\r", "/usr/bin/env is what?")
    assert len(script.asked[-1][1]["messages"]) == 1
    count = len(script.asked)
    t.type(b"/restart\r")
    assert b"/help lists them" in t.expect(PROMPT)
    assert len(script.asked) == count
    t.type(b"\r \r/exit\r")
    assert t.wait() == 0


def test_a_terminal_that_cannot_edit(script, terminal):
    t = terminal("--url", script.url, TERM="dumb")
    t.expect("> ")
    t.type(b"one \\\n")
    t.expect("\\. ")
    t.type(b"two\n")
    t.expect("1:one \r\ntwo\r\n> ")
    t.type(b"\x03")
    t.expect("ends\r\n> ")
    t.type(b"\x04")
    assert t.wait() == 0
    assert script.asked[0][1]["messages"][0]["content"] == "one \ntwo"


def test_a_servers_words_do_not_drive_the_terminal(script, terminal):
    script.say = lambda _: [delta("a\x1b[2Jb\x9bc\u009bd\x07e"), DONE]
    t = terminal("--url", script.url, "-p", "x")
    assert t.wait() == 0
    shown = t.seen.decode()
    assert "\x1b" not in shown and "\x07" not in shown and "\x9b" not in shown and "a" in shown and "e" in shown


@needs_editor
def test_ctrl_c_twice_ends(script, terminal):
    t = terminal("--url", script.url)
    t.expect(PROMPT)
    ask(t, script, b"one\r", "one")
    t.type(b"\x03")
    t.expect("Ctrl-C once more.*" + PROMPT)
    t.type(b"\x03")
    assert t.wait() == 0


@pytest.mark.skipif(not REAL, reason="needs the demo model")
def test_a_model_on_a_terminal(terminal):
    t = terminal(MODEL, "--kv-cache-memory", "64MiB", "--temperature", "0", "--ignore-eos")
    t.expect(PROMPT, 200)
    t.type(b"Count to one hundred.\r")
    t.expect("\x1b\\[\\?2004l.*[a-z]{3}", 200)
    t.type(b"\x03")
    t.expect(PROMPT, 60)
    t.type(b"/reset\r")
    t.expect(PROMPT)
    t.type(b"\x04")
    assert t.wait() == 0
