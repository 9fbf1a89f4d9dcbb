"""HTTP by hand over a socket, so that requests can be as wrong as a test wants them."""

import json
import socket


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        e = self.json["error"]
        assert set(e) == {"message", "type", "param", "code"}, e
        return e

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:300]!r}"


class Raw:
    def __init__(self, port, uds=None, timeout=10, rcvbuf=None):
        self.s = socket.socket(socket.AF_UNIX if uds else socket.AF_INET)
        if rcvbuf:
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.s.settimeout(timeout)
        self.s.connect(uds if uds else ("127.0.0.1", port))
        self.buffer = b""

    def send(self, data):
        self.s.sendall(data.encode() if isinstance(data, str) else data)
        return self

    def _more(self):
        try:
            data = self.s.recv(65536)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        return bool(data)

    def _until(self, mark):
        while mark not in self.buffer:
            if not self._more():
                return None
        head, self.buffer = self.buffer.split(mark, 1)
        return head

    def _exactly(self, n):
        while len(self.buffer) < n:
            assert self._more(), f"closed after {len(self.buffer)} of {n} bytes"
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def answer(self, head_only=False):
        """The next answer; None when the server closed without one."""
        head = self._until(b"\r\n\r\n")
        if head is None:
            assert self.buffer == b"", self.buffer
            return None
        lines = head.decode("latin-1").split("\r\n")
        version, status = lines[0].split(" ")[:2]
        assert version == "HTTP/1.1", lines[0]
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        if int(status) == 100:
            return self.answer(head_only)
        body = b""
        if head_only:
            pass
        elif headers.get("transfer-encoding") == "chunked":
            while True:
                size = int(self._until(b"\r\n"), 16)
                body += self._exactly(size)
                assert self._exactly(2) == b"\r\n"
                if size == 0:
                    break
        elif "content-length" in headers:
            body = self._exactly(int(headers["content-length"]))
        return Answer(int(status), headers, body)

    def closed(self):
        """True when the server closes, without sending anything more."""
        while self._more():
            pass
        return self.buffer == b""

    def request(self, method, path, body=None, headers=()):
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: test"]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
        lines += list(headers)
        return self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + data)

    def get(self, path, headers=()):
        with self:
            return self.request("GET", path, None, headers).answer()

    def post(self, path, body, headers=()):
        with self:
            return self.request("POST", path, body, headers).answer()

    def close(self):
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
