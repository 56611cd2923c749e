"""HTTP to one filer: with a deadline for the whole call, without repetitions, and recording whether anything was sent.

``requests`` limits the time of each read, not of the whole response: a slow filer could occupy a worker for ever. Here
each read from the socket is limited to the rest of the call's own deadline, which is stored per thread.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from http.client import HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from typing import Any

from requests import Session
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.retry import Retry


class CallContext(threading.local):
    """The current call of this thread."""

    #: The deadline (monotonic seconds).
    deadline: float = float("inf")
    #: Has any byte of the request been handed to the network?
    sent: bool = False

    def begin(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.sent = False

    def remaining(self) -> float:
        """Return the remaining seconds; raises TimeoutError when there are none."""
        remaining_s = self.deadline - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError("the call's time is over")
        return remaining_s


CALL = CallContext()


class _BoundedReader(io.RawIOBase):
    """Reads from a socket; each read is limited to the call's remaining time."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # Keeps the socket open until the response has been read, also if the filer announced that it closes.
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(CALL.remaining())
        count: int | None = self._file.readinto(buffer)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _BoundedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        unbounded, self.fp = self.fp, io.BufferedReader(_BoundedReader(sock), 65536)
        unbounded.close()


class _PlainConnection(HTTPConnection):
    response_class = _BoundedResponse

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        CALL.sent = True
        super().send(data)


class _TlsConnection(_PlainConnection, HTTPSConnection):
    """The same over TLS; ``connect`` is that of the second base class."""


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class OntapAdapter(HTTPAdapter):
    """One persistent connection, without automatic retries for any method."""

    def __init__(self) -> None:
        # The library's own adapter repeats a DELETE up to five times.
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=Retry(total=0))

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **pool)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}


def new_session(origin: str) -> Session:
    """Return a session for one filer: no proxies, no netrc, no cookies, no other origin than ``origin``."""
    session = Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.adapters.clear()
    session.mount(origin, OntapAdapter())
    return session
