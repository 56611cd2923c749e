"""What the driver sends with httpx, what it returns, and when it closes responses."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from storage_api_client.blocking import driver as module
from storage_api_client.blocking.driver import Driver
from storage_api_client.protocol.messages import (
    ConnectionLost,
    Emit,
    Flow,
    OpenStream,
    ReadChunk,
    Request,
    Send,
    send,
)
from storage_api_client.version import VERSION


class Body(httpx.SyncByteStream):
    """The body of a response in parts, which notes whether it was closed."""

    def __init__(self, *parts: bytes) -> None:
        self.parts, self.is_closed = parts, False

    def __iter__(self) -> Iterator[bytes]:
        yield from self.parts

    def close(self) -> None:
        self.is_closed = True


@contextmanager
def driven(respond: Callable[[httpx.Request], httpx.Response]) -> Iterator[Driver]:
    """A driver whose requests are answered by a function."""
    client = partial(httpx.Client, transport=httpx.MockTransport(respond))
    with patch.object(httpx, "Client", client):
        driver = Driver("http://127.0.0.1:9/below")
    yield driver
    driver.close()


def sent_by(flow: Flow[Any]) -> list[httpx.Request]:
    """What a flow sends."""
    requests: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200)

    with driven(respond) as driver:
        assert list(driver.iterate(flow)) == []
    return requests


def sent(request: Request) -> httpx.Request:
    """What is sent for a request."""
    return sent_by(send(request))[0]


@pytest.mark.parametrize(
    ("body", "form", "content", "kind"),
    [
        (None, None, b"", None),
        ({}, None, b"{}", "application/json"),
        ({"a": "ä"}, None, b'{"a": "\\u00e4"}', "application/json"),
        (None, {"a": "b c"}, b"a=b+c", "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_has_its_media_type(body: Any, form: Any, content: bytes, kind: str | None) -> None:
    request = sent(Request("POST", "/v4/jobs", headers={"Idempotency-Key": "k"}, body=body, form=form))
    assert (request.method, request.content, request.headers.get("content-type")) == ("POST", content, kind)
    assert request.headers["idempotency-key"] == "k"


def test_a_query_has_all_its_parameters() -> None:
    request = sent(Request("GET", "/v4/s/volumes", (("size_used", ">1"), ("name", "a&b"), ("size_used", "<9"))))
    assert str(request.url).partition("?")[0] == "http://127.0.0.1:9/below/v4/s/volumes"
    assert request.url.params.multi_items() == [("size_used", ">1"), ("size_used", "<9"), ("name", "a&b")]
    assert "?" not in str(sent(Request("GET", "/v4/jobs")).url)


def test_each_request_has_user_agent_and_accept() -> None:
    """For a browser, the service has pages at the same addresses."""
    headers = sent(Request("GET", "/v4/jobs")).headers
    assert (headers["user-agent"], headers["accept"]) == (f"storage-api-client/{VERSION}", "application/json")
    assert sent(Request("GET", "/v4/events", headers={"Accept": "text/event-stream"})).headers["accept"] == (
        "text/event-stream"
    )


def test_a_response_has_all_its_cookies() -> None:
    headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Other", "c")]
    with driven(lambda _: httpx.Response(302, headers=headers, content=b"x")) as driver:
        response = driver.run(send(Request("GET", "/")))
    assert (response.status, response.headers["x-other"], response.body) == (302, "c", b"x")
    assert response.cookies == ["a=1", "b=2"]


def test_a_response_that_does_not_end_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    moments_s, body = iter((0.0, 3.0, 5.9, 6.1)), Body(b"1", b"2", b"3", b"4")
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(moments_s)))
    with driven(lambda _: httpx.Response(200, stream=body)) as driver, pytest.raises(ConnectionLost) as lost:
        driver.run(send(Request("GET", "/", limit_s=3)))
    assert (lost.value.sent, body.is_closed, next(moments_s, None)) == (True, True, None)


@pytest.mark.parametrize("command", [Send, partial(OpenStream, silence_s=45)])
def test_time_limits_of_requests_and_streams(command: Any) -> None:
    def flow() -> Flow[None]:
        yield command(Request("GET", "/", limit_s=3))
        yield command(Request("GET", "/", limit_s=30))

    reads = (3, 30) if command is Send else (45, 45)
    assert [request.extensions["timeout"] for request in sent_by(flow())] == [
        {"connect": 3, "read": reads[0], "write": 3, "pool": 3},
        {"connect": 5, "read": reads[1], "write": 30, "pool": 30},
    ]


def _listened(statuses: list[int]) -> Flow[None]:
    for _ in statuses:
        response = yield OpenStream(Request("GET", "/v4/events"), 45)
        yield Emit((response.status, response.body))
        if response.status < 400:
            yield Emit((yield ReadChunk()))


@pytest.mark.parametrize("statuses", [[200], [400], [503], [200, 200], [503, 200]])
@pytest.mark.parametrize("stops", [True, False])
def test_streams_are_closed_before_the_next_and_at_the_end(statuses: list[int], stops: bool) -> None:
    bodies: list[Body] = []

    def respond(_: httpx.Request) -> httpx.Response:
        assert all(body.is_closed for body in bodies)
        bodies.append(Body(b"", b"text"))
        return httpx.Response(statuses[len(bodies) - 1], stream=bodies[-1])

    with driven(respond) as driver:
        values: Any = driver.iterate(_listened(statuses))
        received = [next(values)]
        if stops:
            values.close()
        received += values
        assert all(body.is_closed for body in bodies)
    assert received[0] == (statuses[0], b"text" if statuses[0] >= 400 else b"")
    assert len(bodies) == (1 if stops else len(statuses))


def test_certificates_are_checked_with_those_that_are_named() -> None:
    with patch.object(ssl, "create_default_context", wraps=ssl.create_default_context) as context:
        with pytest.raises(FileNotFoundError):
            Driver("https://storage.example.org", "/no/ca.pem")
        Driver("https://storage.example.org").close()
    assert [call.kwargs["cafile"] for call in context.call_args_list] == ["/no/ca.pem", None]
