"""A server on 127.0.0.1 that misbehaves as told: each request of a path takes the next step of its script."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

MAX_DRIBBLES = 40
"""Pieces of a slow answer: however long it is, the server comes to an end."""


class BadServer(ThreadingHTTPServer):
    """Serves `files` by path; `script[path]` is a list of misbehaviours, after which it behaves."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.script: dict[str, list[str]] = defaultdict(list)
        self.always: dict[str, str] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.lock = Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def step(self, path: str, range_header: str | None) -> str:
        """Note a request and say how to answer it."""
        with self.lock:
            self.requests.append((path, range_header))
            if path in self.always:
                return self.always[path]
            return self.script[path].pop(0) if self.script[path] else "well"

    def asked(self, path: str) -> list[str | None]:
        """The Range headers of all requests of a path."""
        return [range_header for name, range_header in self.requests if name == path]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: BadServer

    def log_message(self, format: str, *args: object) -> None:
        """Be silent."""

    def do_GET(self) -> None:
        path = self.path.lstrip("/").partition("?")[0]
        asked = self.headers.get("Range")
        step, _, argument = self.server.step(path, asked).partition(" ")
        content = self.server.files.get(path)
        if step.isdecimal():
            self._head(int(step), 0, {"Retry-After": argument} if argument else {})
        elif step == "redirect":
            self._head(302, 0, {"Location": argument})
        elif content is None:
            self._head(404, 0, {})
        else:
            self._answer(step, content, asked)

    def _answer(self, step: str, content: bytes, asked: str | None) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", asked or "")
        start = int(match[1]) if match and step != "no_range" else 0
        if start and start >= len(content):
            self._head(416, 0, {"Content-Range": f"bytes */{len(content)}"})
            return
        body = content[start:]
        headers = {"ETag": '"1"'}
        if step == "other_range":
            body, start = content, 1
        if match and step != "no_range":
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        status = 206 if match and step != "no_range" else 200
        if step == "wrong":
            body = bytes(255 - byte for byte in body)
        if step in ("endless", "unmeasured_drop"):
            self._head(status, None, headers)
            pieces = [body * 4] * MAX_DRIBBLES if step == "endless" else [body[: len(body) // 2]]
            for piece in pieces:
                self.wfile.write(piece)
            self.close_connection = True
            return
        if step in ("gzip", "Identity"):
            headers["Content-Encoding"] = step
        if step == "long_length":
            self._head(status, None, headers | {"Content-Length": "9" * 5000})
            return
        if step == "long_range":
            headers["Content-Range"] = f"bytes {'9' * 5000}-1/*"
        self._head(status, 10**15 if step == "huge" else len(body), headers)
        if step in ("drop", "huge"):
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif step == "slow":
            for index in range(min(MAX_DRIBBLES, len(body))):
                self.wfile.write(body[index : index + 1])
                time.sleep(0.05)
            self.close_connection = True
        elif step == "stall":
            self.wfile.write(body[:10])
            time.sleep(1.0)
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _head(self, status: int, length: int | None, headers: dict[str, str]) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def serve() -> Iterator[BadServer]:
    """A server until the block ends."""
    with BadServer() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)
