# Generated from ../aio/driver.py by tools/make_blocking.py: change it there, and run `make client_files`.
"""Executes the commands of flows with httpx."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import httpx

from storage_api_client.addresses import is_loopback, origin, resolve
from storage_api_client.protocol.failures import lost
from storage_api_client.protocol.messages import (
    ConnectionLost,
    Emit,
    Ended,
    Flow,
    OpenStream,
    Pause,
    ReadChunk,
    Request,
    Response,
    Send,
    advance,
    fail,
)
from storage_api_client.version import VERSION

T = TypeVar("T")
_CONNECT_S = 5.0


class Driver:
    """A pool of connections to one service."""

    def __init__(self, url: str, ca_file: str | None = None) -> None:
        """Connect to ``url``; its certificate is checked with the system's authorities, or those of ``ca_file``."""
        self.url = url
        self._http = httpx.Client(
            follow_redirects=False,
            verify=ssl.create_default_context(cafile=ca_file),
            headers={"User-Agent": f"storage-api-client/{VERSION}", "Accept": "application/json"},
            trust_env=not is_loopback(url),
            cookies=None,
        )

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def run(self, flow: Flow[T]) -> T:
        """Run a flow, and return its result."""
        try:
            command = advance(flow)
            while not isinstance(command, Ended):
                command = self._step(flow, command)
            result: T = command.value
            return result
        finally:
            flow.close()

    def iterate(self, flow: Flow[None]) -> Iterator[Any]:
        """Run a flow, and yield the values that it emits."""
        stream = _Streams()
        try:
            command = advance(flow)
            while not isinstance(command, Ended):
                if isinstance(command, Emit):
                    yield command.value
                    command = advance(flow)
                else:
                    command = self._step(flow, command, stream)
        finally:
            stream.close()
            flow.close()

    def _step(self, flow: Flow[Any], command: Any, stream: _Streams | None = None) -> Any:
        """Execute one command, and return the next."""
        try:
            reply = self._reply(command, stream)
        except ConnectionLost as error:
            return fail(flow, error)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return fail(flow, lost(error, _origin_of(command, self.url)))
        return advance(flow, reply)

    def _reply(self, command: Any, stream: _Streams | None) -> Any:
        if isinstance(command, Send):
            return self._send(command.request)
        if isinstance(command, Pause):
            time.sleep(command.seconds)
            return None
        assert stream is not None, command  # noqa: S101 - flows with streams are iterated over
        if isinstance(command, OpenStream):
            stream.close()
            return stream.open(self._http, self._built(command.request), command.silence_s)
        assert isinstance(command, ReadChunk), command  # noqa: S101 - there are no other commands
        return stream.read()

    def _send(self, request: Request) -> Response:
        ends_at = time.monotonic() + request.limit_s
        answer = self._http.send(self._built(request), stream=True)
        try:
            body = bytearray()
            for chunk in answer.iter_bytes():
                body += chunk
                # The limit for each piece alone would let an answer trickle in for ever.
                if time.monotonic() > ends_at + request.limit_s:
                    raise ConnectionLost("The service's answer does not come to an end", sent=True)
        finally:
            answer.close()
        return _response(answer, bytes(body))

    def _built(self, request: Request) -> httpx.Request:
        content, headers = None, dict(request.headers)
        if request.body is not None:
            content, headers["Content-Type"] = json.dumps(request.body).encode(), "application/json"
        form: Mapping[str, str] | None = request.form
        timeout = httpx.Timeout(request.limit_s, connect=min(_CONNECT_S, request.limit_s))
        return self._http.build_request(
            request.method,
            resolve(self.url, request.path),
            params=list(request.query) or None,
            headers=headers,
            content=content,
            data=form,
            timeout=timeout,
        )


class _Streams:
    """The one open stream of an iteration, if there is one."""

    def __init__(self) -> None:
        self._answer: httpx.Response | None = None
        self._chunks: Iterator[bytes] | None = None

    def open(self, http: httpx.Client, request: httpx.Request, silence_s: float) -> Response:
        """Send a request, and return its answer's head; of an error, the body too."""
        request.extensions["timeout"] = {**request.extensions["timeout"], "read": silence_s}
        self._answer = http.send(request, stream=True)
        if self._answer.status_code >= 400:  # noqa: PLR2004 - an error
            return _response(self._answer, self._answer.read())
        self._chunks = self._answer.iter_bytes()
        return _response(self._answer, b"")

    def read(self) -> bytes:
        """Return the next bytes; none at the end."""
        assert self._chunks is not None  # noqa: S101 - a stream is opened before it is read
        for chunk in self._chunks:
            if chunk:
                return chunk
        return b""

    def close(self) -> None:
        """Close it."""
        if self._answer is not None:
            self._answer.close()
        self._answer = self._chunks = None


def _response(answer: httpx.Response, body: bytes) -> Response:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Response(answer.status_code, headers, body, answer.headers.get_list("set-cookie"))


def _origin_of(command: Any, url: str) -> str:
    """The address that a command speaks to: the service's, or that of an identity provider."""
    path = command.request.path if isinstance(command, Send | OpenStream) else ""
    return origin(path) if "://" in path else url
