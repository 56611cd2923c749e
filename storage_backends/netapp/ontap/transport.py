"""HTTP to one filer: ends by a deadline however slowly bytes arrive, sends nothing twice, and knows whether it left.

``requests`` bounds each read, not the whole answer: a filer that trickles bytes would hold a worker for ever. Here
every read from the socket is bounded by what is left of the call's own deadline, kept per thread while the call runs.
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
    """The call that this thread has under way."""

    #: When it must have ended, on the monotonic clock.
    deadline: float = float("inf")
    #: Has any byte of the request been handed to the network?
    sent: bool = False

    def begin(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.sent = False

    def remaining(self) -> float:
        """Seconds left; raises TimeoutError when there are none."""
        remaining_s = self.deadline - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError("the call's time is over")
        return remaining_s


CALL = CallContext()


class _BoundedReader(io.RawIOBase):
    """Reads from a socket, each time for no longer than the call has left."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._sock = sock
        # Holds the socket open until the answer has been read, also when the filer announced that it closes.
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
    """The same over TLS: whatever the first base does not change is the second's, such as ``connect``."""


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class OntapAdapter(HTTPAdapter):
    """One kept connection; nothing is ever sent again by itself, whatever the method."""

    def __init__(self) -> None:
        # The library's own adapter would re-send a DELETE up to five times.
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=Retry(total=0, redirect=0))

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **pool)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}


def new_session(origin: str) -> Session:
    """A session for one filer alone: no proxies, no netrc, no cookies kept, nothing but ``origin`` reachable."""
    session = Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.adapters.clear()
    session.mount(origin, OntapAdapter())
    return session
