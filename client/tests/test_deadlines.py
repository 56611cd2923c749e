"""How long to go on, and what it means that there is no answer."""

from __future__ import annotations

import socket
import ssl
import threading
from types import SimpleNamespace

import httpx
import pytest

from flows import LOST, answer, run
from storage_api_client.blocking.driver import Driver
from storage_api_client.errors import Unavailable
from storage_api_client.protocol import deadlines
from storage_api_client.protocol.deadlines import Deadline, backoff_s
from storage_api_client.protocol.events import events
from storage_api_client.protocol.failures import lost
from storage_api_client.protocol.messages import (
    ConnectionLost,
    Emit,
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
from storage_api_client.protocol.retries import Context, send_with_retries


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that is advanced by the test."""
    clock = SimpleNamespace(now_s=1000.0)
    monkeypatch.setattr(deadlines, "time", SimpleNamespace(monotonic=lambda: clock.now_s))
    return clock


def test_a_call_has_a_deadline(clock: SimpleNamespace) -> None:
    assert (Deadline(None).left_s, Deadline(0).left_s, Deadline(-1).left_s) == (300.0, 0.0, 0.0)
    deadline = Deadline(10)
    clock.now_s += 7
    assert (deadline.left_s, deadline.allows(2.9), deadline.allows(3.0)) == (3.0, True, False)
    clock.now_s += 7
    assert deadline.left_s == 0.0


def test_an_unavailable_service_is_retried_for_20_seconds_or_the_timeout(clock: SimpleNamespace) -> None:
    for timeout, limit_s in ((None, 20), (100, 100), (5, 5)):
        deadline = Deadline(timeout)
        assert deadline.allows_reconnect(1)
        clock.now_s += limit_s - 2
        assert deadline.allows_reconnect(1)
        clock.now_s += 1
        assert not deadline.allows_reconnect(1)
    deadline = Deadline(None)
    assert deadline.allows_reconnect(1)
    clock.now_s += 19
    deadline.answered()
    clock.now_s += 5
    assert deadline.allows_reconnect(1)


def test_each_response_resets_the_time_without_a_service(clock: SimpleNamespace) -> None:
    flow = send_with_retries(Context(), Request("GET", "/"), Deadline(None))
    assert isinstance(advance(flow), Send)
    assert isinstance(fail(flow, LOST), Pause)
    assert isinstance(advance(flow), Send)
    assert isinstance(advance(flow, answer(503, retry_after="19")), Pause)
    clock.now_s += 19
    assert isinstance(advance(flow), Send)
    assert isinstance(fail(flow, LOST), Pause)


def test_a_stream_that_was_there_for_long_is_tried_for_as_long_as_a_new_one(clock: SimpleNamespace) -> None:
    flow = events(Context(), (), timeout=10)
    opened = advance(flow)
    assert isinstance(opened, OpenStream)
    assert opened.silence_s == 45  # The service sends something every 15 s.
    assert isinstance(advance(flow, answer(200)), ReadChunk)
    clock.now_s += 1000
    # A comment, which has the position of the stream.
    assert isinstance(advance(flow, b": still here\nid: 7\n\n"), ReadChunk)
    clock.now_s += 5
    assert isinstance(fail(flow, LOST), Pause)
    again = advance(flow)
    assert isinstance(again, OpenStream)
    assert again.request.headers["Last-Event-ID"] == "7"
    clock.now_s += 10
    with pytest.raises(Unavailable):
        fail(flow, LOST)


def test_a_broken_stream_goes_on_after_its_last_whole_event() -> None:
    whole = b'event: job\r\nid: %d\r\ndata: {"id": "7", "target": " a\\rb "}\r\n\r\n'
    answers = (answer(200), whole % 1, whole[:30] % 2, LOST, answer(200), whole % 2)
    emitted, sent, _ = run(events(Context(), ()), *answers)
    assert [(event.id, event.job.target) for event in emitted] == [("1", " a\rb "), ("2", " a\rb ")]
    assert [request.headers.get("Last-Event-ID") for request in sent] == [None, "1"]


@pytest.mark.parametrize("status", [502, 503, 504])
def test_an_error_page_of_a_gateway_is_a_lost_stream(status: int) -> None:
    page = Response(status, {"content-type": "text/html"}, b"<html>")
    _, sent, pauses = run(events(Context(), ()), page, answer(200))
    assert (len(sent), len(pauses)) == (2, 1)


def test_a_permanent_failure_of_a_stream_is_not_retried() -> None:
    with pytest.raises(Unavailable, match="certificate"):
        run(events(Context(), ()), ConnectionLost("No such certificate", sent=False, permanent=True))


def test_a_silent_stream_is_lost() -> None:
    def listened() -> Flow[None]:
        yield OpenStream(Request("GET", "/"), 0.1)
        yield Emit((yield ReadChunk()))
        try:
            yield ReadChunk()
        except ConnectionLost as error:
            yield Emit(error.sent)

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection = server.accept()[0]
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
                connection.recv(1)  # Until the client closes the connection.

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        driver = Driver(f"http://127.0.0.1:{server.getsockname()[1]}")
        assert list(driver.iterate(listened())) == [b"hello", True]
        driver.close()
        thread.join(20)


def test_delays_double_up_to_five_seconds() -> None:
    for attempt, most_s in ((0, 0.2), (1, 0.4), (3, 1.6), (5, 5.0), (99, 5.0)):
        delays = [backoff_s(attempt) for _ in range(20)]
        assert all(most_s * 0.75 <= delay <= most_s for delay in delays)
        assert len(set(delays)) > 1  # Clients that were disconnected together do not reconnect at the same time.


@pytest.mark.parametrize(
    ("error", "may_have_arrived", "words"),
    [
        (httpx.ConnectError("no"), False, "was lost"),
        (httpx.ConnectTimeout("no"), False, "in time"),
        (httpx.PoolTimeout("no"), False, "in time"),
        (httpx.ProxyError("no"), False, "was lost"),
        (httpx.ReadTimeout("no"), True, "in time"),
        (httpx.WriteTimeout("no"), True, "in time"),
        (httpx.ReadError("no"), True, "was lost"),
        (httpx.WriteError("no"), True, "was lost"),
        (httpx.RemoteProtocolError("no"), True, "was lost"),
    ],
)
def test_whether_a_lost_request_may_have_been_sent(error: Exception, may_have_arrived: bool, words: str) -> None:
    failure = lost(error, "https://s.example")
    assert (failure.sent, failure.permanent) == (may_have_arrived, False)
    assert words in failure.detail
    assert "https://s.example" in failure.detail


def _untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError()
    error.verify_message = "self-signed"
    return error


@pytest.mark.parametrize(
    ("cause", "permanent", "words"),
    [
        (_untrusted(), True, "certificate"),
        (socket.gaierror(-2, "unknown name"), False, "unknown name"),
        (ConnectionRefusedError(), False, "refused"),
    ],
)
def test_the_cause_of_an_error_decides(cause: Exception, permanent: bool, words: str) -> None:
    error = httpx.ConnectError("no")
    error.__cause__ = cause
    failure = lost(error, "https://s.example")
    assert (failure.sent, failure.permanent, words in failure.detail) == (False, permanent, True)


@pytest.mark.parametrize("error", [httpx.UnsupportedProtocol("no"), httpx.LocalProtocolError("no")])
def test_permanent_failures_are_not_retried(error: Exception) -> None:
    failure = lost(error, "x")
    assert (failure.permanent, failure.sent) == (True, False)
