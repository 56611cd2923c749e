"""Shuts down connections of stalled clients, each of which would hold a thread of the server and memory without limit.

The server has no time limits for receiving bodies and for sending, and runs no code of ours meanwhile. The state of a
connection is known to the kernel (Linux), which can also end it:

- One that does not receive is ended by the kernel itself: TCP_USER_TIMEOUT, which connections inherit
  from the listening socket, also covers peers with a zero window (Linux 5.11 and later).
- One that has sent the beginning of a request, and received nothing since for longer than any request lasts, has not
  sent the rest. A thread reads TCP_INFO, and shuts such connections down, which ends the read of the body.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")
#: How long a client may not receive (seconds).
TIMEOUT_S = 30
#: Seconds between two checks of all connections.
LOOK_EVERY_S = 5.0
#: Of `struct tcp_info` (linux/tcp.h, from 4.1 on): milliseconds since data was sent and received; bytes acknowledged.
_LAST_SENT, _LAST_RECEIVED, _BYTES_ACKNOWLEDGED, _LENGTH = 44, 52, 120, 136


def cut_off_stalled_clients(longest_request_s: float) -> None:
    """Check all connections to this process from now on, in the background.

    Does nothing on other systems than Linux.

    Args:
        longest_request_s: how long a whole request may take to be answered (seconds).
    """
    if hasattr(socket, "TCP_USER_TIMEOUT") and hasattr(socket, "TCP_INFO") and _DESCRIPTORS.is_dir():
        watch = ConnectionWatch(longest_request_s)
        threading.Thread(target=_watch_forever, args=(watch,), name="stalled-clients", daemon=True).start()


def _watch_forever(watch: ConnectionWatch) -> None:
    while True:
        time.sleep(LOOK_EVERY_S)
        watch.check()


@dataclass(frozen=True, slots=True)
class _PendingResponse:
    """A connection with an unanswered request: the bytes acknowledged before, and since when (monotonic seconds)."""

    acknowledged: int
    since_s: float


class ConnectionWatch:
    """Watches the connections to this process."""

    def __init__(self, longest_request_s: float) -> None:
        self._longest_request_s = longest_request_s
        #: By the inode of the socket.
        self._pending: dict[int, _PendingResponse] = {}

    def check(self) -> None:
        """Check every connection once, and shut stalled ones down."""
        seen: dict[int, _PendingResponse] = {}
        for sock in _own_tcp_sockets():
            with sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TIMEOUT_S * 1000)
                if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    self._check(sock, seen)
        self._pending = seen

    def _check(self, sock: socket.socket, seen: dict[int, _PendingResponse]) -> None:
        acknowledged = _acknowledged_bytes(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LENGTH))
        if acknowledged is None:
            return
        inode, now_s = os.fstat(sock.fileno()).st_ino, time.monotonic()
        pending = self._pending.get(inode)
        if pending is None or pending.acknowledged != acknowledged:
            pending = _PendingResponse(acknowledged, now_s)
        seen[inode] = pending
        if now_s - pending.since_s > self._longest_request_s:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                # The connection has ended meanwhile.
                return


def _acknowledged_bytes(info: bytes) -> int | None:
    """Return the bytes acknowledged by a client that has sent data since; None otherwise, or if unknown."""
    if len(info) < _LENGTH:
        return None
    (last_sent_ms,) = struct.unpack_from("=I", info, _LAST_SENT)
    (last_received_ms,) = struct.unpack_from("=I", info, _LAST_RECEIVED)
    (acknowledged,) = struct.unpack_from("=Q", info, _BYTES_ACKNOWLEDGED)
    # Within one kernel tick the order is unknown. Idle connections are ended by the server earlier.
    return acknowledged if last_received_ms <= last_sent_ms else None


def _own_tcp_sockets() -> Iterator[socket.socket]:
    """Yield listening sockets and the connections to their ports, as duplicates that the caller closes."""
    sockets = list(_tcp_sockets())
    ports = {_port(sock) for sock in sockets if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)}
    for sock in sockets:
        if _port(sock) in ports:
            yield sock
        else:
            sock.close()


def _tcp_sockets() -> Iterator[socket.socket]:
    for descriptor in list(_DESCRIPTORS.iterdir()):
        try:
            duplicate = os.dup(int(descriptor.name))
        except OSError:
            # The descriptor was closed meanwhile.
            continue
        try:
            sock = socket.socket(fileno=duplicate)
        except OSError:
            # Not a socket: a pipe whose duplicate stayed open would never end for its reader.
            os.close(duplicate)
            continue
        if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
            yield sock
        else:
            sock.close()


def _port(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])
