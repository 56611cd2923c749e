"""Cuts off clients that do not read what they are sent: each would hold a thread of the server for as long as it likes.

The server has no time limit for sending, and nothing of ours runs while it waits. The kernel has one, for each
connection: TCP_USER_TIMEOUT also ends those whose peer answers and takes nothing (Linux 5.11 and later). Connections
inherit it from the socket that listens.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")
#: How long a client may take nothing of what waits for it.
TIMEOUT_S = 30


_lock = threading.Lock()


def cut_off_stalled_clients() -> None:
    """Set the limit for all connections of this process, those to come included.

    The server listens by then: call it from a request. It is done once, and not where the system has no such limit.
    """
    # One at a time: each takes a duplicate of every descriptor, for a moment.
    with _lock:
        _set_limit()


@cache
def _set_limit() -> int:
    """Return on how many sockets the limit was set."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None or not _DESCRIPTORS.is_dir():
        return 0
    count = 0
    for own in _own_tcp_sockets():
        with own:
            own.setsockopt(socket.IPPROTO_TCP, option, TIMEOUT_S * 1000)
            count += 1
    return count


def _own_tcp_sockets() -> Iterator[socket.socket]:
    """Sockets that listen, and connections to the ports of those; as duplicates, to be closed."""
    found = list(_tcp_sockets())
    ports = {_port(each) for each in found if each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)}
    for each in found:
        if _port(each) in ports:
            yield each
        else:
            each.close()


def _tcp_sockets() -> Iterator[socket.socket]:
    for descriptor in list(_DESCRIPTORS.iterdir()):
        try:
            duplicate = os.dup(int(descriptor.name))
        except OSError:
            # Closed meanwhile.
            continue
        try:
            each = socket.socket(fileno=duplicate)
        except OSError:
            # No socket: a pipe whose duplicate stayed open would never end for whoever reads it.
            os.close(duplicate)
            continue
        if each.family in (socket.AF_INET, socket.AF_INET6) and each.type == socket.SOCK_STREAM:
            yield each
        else:
            each.close()


def _port(each: socket.socket) -> int:
    return int(each.getsockname()[1])
