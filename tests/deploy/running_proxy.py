"""nginx with the deployment's own configuration, before a server that echoes requests."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from deploy.dev.embedded_redis import free_port
from tests.deploy.stack import ROOT

CONFIG = (ROOT / "deploy/proxy/nginx.conf").read_text("utf-8")
needs_nginx = pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not here: the proxy is not tried")


class Echo(BaseHTTPRequestHandler):
    """Answers with the request's own target and headers; of a stream its second part, and /readyz, on demand."""

    protocol_version = "HTTP/1.1"
    go_on = threading.Event()
    #: Requests by path.
    requests: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:
        self.requests[self.path] += 1
        if self.path == "/v4/events":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"event: job\n\n")
            self.go_on.wait(60)
            return
        if self.path == "/readyz":
            self.go_on.wait(60)
        body = json.dumps({"path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        # As for one client only: nginx knows better.
        self.send_header("Cache-Control", "no-store")
        self.send_header("Expires", "Thu, 01 Jan 1970 00:00:00 GMT")
        self.send_header("Vary", "*")
        self.send_header("X-Request-ID", "of one request")
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    do_PUT = do_POST  # noqa: N815 - the library's name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing."""


def servers(first: int, *others: int) -> str:
    """The file that says where the API is."""
    shipped = (ROOT / "deploy/proxy/kubernetes-servers.conf").read_text("utf-8")
    if not others:
        return shipped.replace(":8000", f":{first}")
    listed = "".join(f"server 127.0.0.1:{port} backup max_fails=0;" for port in others)
    upstream = f"upstream apis {{ server 127.0.0.1:{first} max_fails=0; {listed} }}\n"
    return upstream + shipped.replace("127.0.0.1:8000", "apis")


@contextmanager
def proxy(folder: Path, *api_ports: int) -> Iterator[int]:
    """Run nginx with the deployment's own file before these ports of an API, the first one first; where it listens."""
    folder.chmod(0o777)
    listens = free_port()
    config = CONFIG.replace("listen 8080", f"listen 127.0.0.1:{listens}").replace("/tmp/", f"{folder}/")
    (folder / "nginx.conf").write_text(config, "utf-8")
    (folder / "servers.conf").write_text(servers(*api_ports), "utf-8")
    # As in the container, all processes are of one user.
    same_user = ["-g", "user root;"] if os.geteuid() == 0 else []
    command = ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder), *same_user]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", listens)) == 0:
                    break
            assert process.poll() is None, "nginx ended"
            assert time.monotonic() < deadline, "nginx does not listen"
        yield listens
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextmanager
def echoing_proxy(folder: Path) -> Iterator[int]:
    """Run nginx before a server that echoes; where it listens."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with proxy(folder, server.server_port) as listens:
            yield listens
    finally:
        server.shutdown()
        server.server_close()


def sent(port: int, request: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(request)
    return connection


def answer_on(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    with connection:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, dict(answer.getheaders()), answer.read()


def answer_to(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    return answer_on(sent(port, request))


def question(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: storage.example.org\r\nConnection: close\r\n\r\n".encode()


def get(port: int, target: str) -> tuple[int, dict[str, str], bytes]:
    return answer_to(port, question(target))
