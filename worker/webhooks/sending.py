"""Sends one POST to a checked address, with limits of time and size, without redirects."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from worker.config.callback_hosts import CallbackHosts, target_of
from worker.webhooks.addresses import resolve

#: The time limit from the end of the look-up to the status (seconds).
TIMEOUT_S = 10.0
_LONGEST_HEAD = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |\r?\n)")


class NotSent(Exception):
    """The receiver did not accept it; the message says why."""


def post(url: str, body: bytes, headers: Mapping[str, str], hosts: CallbackHosts) -> int:
    """Send ``body``, and return the status of the response, whose body is not read.

    ``hosts``: the loopback and link-local addresses to which something may be sent.

    Raises:
        NotSent: there was no response.
    """
    try:
        scheme, host, port = target_of(url)
    except ValueError as error:
        raise NotSent(f"the URL: {error}") from None
    try:
        addresses = resolve(host, port, hosts)
    except (UnicodeError, OSError) as error:
        raise NotSent(f"{host}: {error}") from None
    deadline = time.monotonic() + TIMEOUT_S
    try:
        with _connected(addresses, port, host if scheme == "https" else "", deadline) as connection:
            _send(connection, _head(url, len(body), headers) + body, deadline)
            return _status(connection, deadline)
    except (OSError, ValueError) as error:
        raise NotSent(f"{host}: {error}") from None


def _connected(addresses: list[str], port: int, tls_host: str, deadline: float) -> socket.socket:
    error: OSError = OSError("no address")
    for address in addresses[:2]:
        try:
            connection = socket.create_connection((address, port), timeout=_remaining_s(deadline))
        except OSError as exc:
            error = exc
            continue
        if not tls_host:
            return connection
        try:
            return ssl.create_default_context().wrap_socket(connection, server_hostname=tls_host)
        except BaseException:
            connection.close()
            raise
    raise error


def _head(url: str, length: int, headers: Mapping[str, str]) -> bytes:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    all_headers = {"Host": parts.netloc, "Content-Length": str(length), "Connection": "close", **headers}
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in all_headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _send(connection: socket.socket, data: bytes, deadline: float) -> None:
    view = memoryview(data)
    while view:
        connection.settimeout(_remaining_s(deadline))
        view = view[connection.send(view[: 64 * 1024]) :]


def _status(connection: socket.socket, deadline: float) -> int:
    """Read the head of the response; interim responses (1xx) are skipped."""
    read = b""
    while True:
        match = _STATUS.match(read)
        if match and not match[1].startswith(b"1"):
            return int(match[1])
        if match and b"\r\n\r\n" in read:
            read = read.partition(b"\r\n\r\n")[2]
            continue
        if len(read) > _LONGEST_HEAD:
            raise ValueError("it answers too much")
        connection.settimeout(_remaining_s(deadline))
        more = connection.recv(4096)
        if not more:
            raise ValueError("it answered nothing that is HTTP")
        read += more


def _remaining_s(deadline: float) -> float:
    remaining_s = deadline - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError("it took too long")
    return remaining_s
