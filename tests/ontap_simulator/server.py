"""The simulator as an HTTP server on loopback: accounts, routes, faults, and what ONTAP puts around its answers."""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.ontap_simulator import cluster, protocols, snapshots, volumes
from tests.ontap_simulator.dialects import Dialect
from tests.ontap_simulator.errors import Refusal, missing
from tests.ontap_simulator.exchange import Reply, Request
from tests.ontap_simulator.faults import Fault, Kind
from tests.ontap_simulator.world import World

_ROUTES = [
    (method, re.compile(path), handler)
    for method, path, handler in (*volumes.ROUTES, *snapshots.ROUTES, *protocols.ROUTES, *cluster.ROUTES)
]
_CUT, _PAGE = object(), object()
_INSTEAD = frozenset({Kind.WEB_PAGE_BEFORE, Kind.REDIRECT, Kind.EMPTY_PAGE, Kind.REFUSE})


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    body: Any
    #: The client's port: one per connection.
    port: int


class Simulator:
    """One simulated cluster, served until ``close``."""

    def __init__(
        self,
        world: World | None = None,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        dialect: Dialect = Dialect(),  # noqa: B008
    ) -> None:
        self.world = world or World()
        self.dialect = dialect
        dialect.prepare(self.world)
        #: Passwords by user, and the vserver that an account is confined to.
        self.accounts: dict[str, tuple[str, str]] = {
            "storage-api": ("s3cr3t-Pässwörd", ""),
            "vsadmin": ("s3cr3t-too", self.world.vserver),
        }
        self.faults: list[Fault] = []
        self.refused_logins = 0
        self.requests: list[Seen] = []
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def start(self) -> Simulator:
        self._thread.start()
        return self

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def fault(self, kind: Kind, **what: Any) -> Fault:
        """Add a fault."""
        made = Fault(kind, **what)
        self.faults.append(made)
        return made

    def changes_sent(self) -> list[Seen]:
        """The requests that would change something; asking a job to stop is none."""
        return [seen for seen in self.requests if seen.method != "GET" and not seen.path.startswith("/cluster/jobs")]

    def take_fault(self, method: str, path: str) -> Fault | None:
        """The fault for this request, used up."""
        with self.world.lock:
            for fault in self.faults:
                if fault.fits(method, path):
                    fault.times -= 1
                    return fault
        return None

    def handle(self, request: Request) -> Reply:
        """Carry out one request."""
        self.dialect.heard(request)
        with self.world.lock:
            self.world.tick()
            try:
                reply = _routed(self.world, request)
            except Refusal as refusal:
                return Reply(refusal.status, refusal.body())
            self.world.tick()
            return reply

    def scope_of(self, authorization: str) -> str | None:
        """The vserver that the account is confined to ("" for the cluster's); None if the login is wrong."""
        try:
            kind, _, token = authorization.partition(" ")
            user, _, password = base64.b64decode(token).decode().partition(":")
        except ValueError:
            return None
        account = self.accounts.get(user)
        return account[1] if kind == "Basic" and account and account[0] == password else None


def _routed(world: World, request: Request) -> Reply:
    methods = [
        (method, handler, path_match)
        for method, path, handler in _ROUTES
        if (path_match := path.fullmatch(request.path))
    ]
    if not methods:
        raise missing("path")
    for method, handler, path_match in methods:
        if method == request.method:
            return handler(world, request, path_match)
    raise Refusal(3, f"{request.method} is not supported on this path.")


def _handler(simulator: Simulator) -> type[BaseHTTPRequestHandler]:
    version = "HTTP/1.0" if simulator.dialect.is_http_1_0 else "HTTP/1.1"
    return type("Handler", (_Handler,), {"simulator": simulator, "protocol_version": version})


class _Handler(BaseHTTPRequestHandler):
    simulator: Simulator

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "libzapid-httpd", ""
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *args: Any) -> None:
        return

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        path = parts.path.removeprefix("/api")
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        query = parse_qsl(parts.query, keep_blank_values=True)
        body = json.loads(raw) if raw.strip().startswith(b"{") else None
        with self.simulator.world.lock:
            self.simulator.requests.append(Seen(self.command, path, tuple(query), body, self.client_address[1]))
        scope = self.simulator.scope_of(self.headers.get("Authorization", ""))
        if scope is None:
            self.simulator.refused_logins += 1
            self.answer(Reply(401, Refusal(6691623, "User is not authorized", status=401).body()))
            return
        self.with_fault(Request(self.command, path, dict(query), raw, scope))

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = handle_any  # noqa: N815

    def with_fault(self, request: Request) -> None:
        fault = self.simulator.take_fault(request.method, request.path)
        if fault is None:
            self.answer(self.simulator.handle(request))
            return
        reply = self.before(fault, request)
        if reply is _CUT:
            self.cut()
            return
        if reply is _PAGE or fault.kind is Kind.WEB_PAGE:
            if reply is not _PAGE:
                self.simulator.handle(request)
            self.web_page(fault.status)
            return
        self.after(fault, reply if isinstance(reply, Reply) else self.simulator.handle(request))

    def before(self, fault: Fault, request: Request) -> Any:
        """A reply instead of carrying it out; _CUT; or None to go on."""
        if fault.kind is Kind.LATENCY:
            self.simulator.closing.wait(fault.seconds)
        elif fault.kind is Kind.HANG:
            self.simulator.closing.wait(fault.seconds)
            return _CUT
        elif fault.kind is Kind.DROP:
            return _CUT
        elif fault.kind in _INSTEAD:
            return self.instead(fault)
        request.job_failure = Refusal(fault.code, fault.message) if fault.kind is Kind.JOB_FAILS else None
        request.job_vanishes = fault.kind is Kind.JOB_VANISHES
        return None

    def instead(self, fault: Fault) -> Any:
        """A reply in the place of the one that the request should have had."""
        if fault.kind is Kind.WEB_PAGE_BEFORE:
            return _PAGE
        if fault.kind is Kind.REDIRECT:
            return Reply(302, {}, {"Location": "http://127.0.0.1:9/api/elsewhere"})
        if fault.kind is Kind.EMPTY_PAGE:
            href = self.path if "start." in self.path else self.path + "&start.uuid=0"
            return Reply(200, {"records": [], "num_records": 0, "_links": {"next": {"href": href}}})
        body = Refusal(fault.code, fault.message).body() if fault.code else {}
        return Reply(fault.status, body, dict(fault.headers))

    def after(self, fault: Fault, reply: Reply) -> None:
        if fault.kind is Kind.HANG_AFTER:
            self.simulator.closing.wait(fault.seconds)
        if fault.kind in {Kind.DROP_AFTER, Kind.HANG_AFTER}:
            self.cut()
        elif fault.kind in {Kind.TRUNCATE, Kind.TRICKLE}:
            self.partly(reply, slowly=fault.kind is Kind.TRICKLE)
        else:
            self.answer(reply)

    def answer(self, reply: Reply) -> None:
        dialect = self.simulator.dialect
        reply = dialect.spoken(reply, f"127.0.0.1:{self.simulator.port}")
        content, headers = dialect.packed(json.dumps(reply.body).encode())
        self.head(reply, headers)
        self.wfile.write(content)
        self.close_connection |= dialect.closes_silently

    def head(self, reply: Reply, headers: dict[str, str]) -> None:
        self.send_response(reply.status)
        for name, value in (reply.headers | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/hal+json")
        self.send_header("Cache-Control", "no-cache,no-store,must-revalidate")
        self.end_headers()

    def web_page(self, status: int) -> None:
        content = b"<html><body>The proxy says hello.</body></html>"
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def partly(self, reply: Reply, *, slowly: bool) -> None:
        content = json.dumps(reply.body).encode()
        self.head(reply, {"Content-Length": str(len(content))})
        half = content[: len(content) // 2]
        for byte in half if slowly else b"":
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.simulator.closing.wait(0.05):
                break
        self.wfile.write(b"" if slowly else half)
        self.wfile.flush()
        self.cut()

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            time.sleep(0)  # The client went away.

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            self.close_connection = True
