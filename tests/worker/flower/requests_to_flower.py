"""Requests to Flower, without a server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine


class Connection:
    """What a request needs of its connection: whose it is."""

    def __init__(self, remote_ip: str, protocol: str) -> None:
        self.context = SimpleNamespace(remote_ip=remote_ip, protocol=protocol)

    def set_close_callback(self, _callback: Any) -> None:
        pass


def request_with(uri: str, headers: dict[str, str] | None = None, protocol: str = "http") -> HTTPServerRequest:
    connection: Any = Connection("10.0.0.1", protocol)
    sent = HTTPHeaders({"Host": "flower.test"} | (headers or {}))
    line = RequestStartLine("GET", uri, "HTTP/1.1")
    return HTTPServerRequest(start_line=line, headers=sent, connection=connection)
