"""The request to a receiver, byte by byte, and to whom it is sent over TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import pytest
from cryptography import x509

from tests.certificates import write_certificate
from tests.worker.webhooks.receiver import HookReceiver
from worker.config.callback_hosts import CallbackHosts
from worker.webhooks.sending import TIMEOUT_S, NotSent, _send, _status, post

_NAME = "hooks.example"


def _read_request(server: socket.socket, size_bytes: int, requests: list[bytes]) -> None:
    """Take one request with a body of this size, and answer as a server of HTTP 1.0 may."""
    connection, _ = server.accept()
    with connection:
        read = b""
        while len(read.partition(b"\r\n\r\n")[2]) < size_bytes:
            read += connection.recv(65536)
        requests.append(read)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 204 No Content\r\n\r\n")


@pytest.mark.parametrize(("path", "target"), [("", "/"), ("?a=1", "/?a=1"), ("/hook/x?a=1&b", "/hook/x?a=1&b")])
def test_the_request_is_complete_and_has_a_host_header(path: str, target: str):
    requests: list[bytes] = []
    body = b"x" * 3_000_000
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
        taking = threading.Thread(target=_read_request, args=(server, len(body), requests), daemon=True)
        taking.start()
        assert post(f"http://{host}{path}", body, {"webhook-id": "msg_1"}, CallbackHosts(f"http://{host}")) == 204
        taking.join(20)
    head, _, sent = requests[0].partition(b"\r\n\r\n")
    assert head.decode().split("\r\n") == [
        f"POST {target} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", "Connection: close",
        "webhook-id: msg_1",
    ]  # fmt: skip
    assert sent == body


class _Pieces:
    """A connection from which an answer comes in pieces of some size."""

    def __init__(self, answer: bytes, size_bytes: int) -> None:
        self._pieces = [answer[start : start + size_bytes] for start in range(0, len(answer), size_bytes)]

    def settimeout(self, _seconds: float) -> None:
        pass

    def recv(self, _limit: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


@pytest.mark.parametrize("size_bytes", [1, 2, 7, 26, 1000])
def test_a_response_may_arrive_in_any_pieces(size_bytes: int):
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Away\r\n\r\n"
    connection: Any = _Pieces(answer, size_bytes)
    assert _status(connection, float("inf")) == 503


def test_a_response_that_is_not_http_is_an_error():
    connection: Any = _Pieces(b"nonsense\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 12)
    with pytest.raises(ValueError, match="nothing that is HTTP"):
        _status(connection, float("inf"))


def test_nothing_is_sent_after_the_time_limit():
    connection = Mock()
    connection.send.return_value = 1
    _send(connection, b"ab", float("inf"))
    assert connection.settimeout.mock_calls == [call(float("inf"))] * 2
    with pytest.raises(TimeoutError, match="took too long"):
        _send(connection, b"ab", float("-inf"))
    assert connection.send.call_count == 2


@pytest.mark.parametrize(
    ("answer", "error"), [(b"", "answered nothing"), (b"HTTP/1.1 204 No Content\r\n\r\n", "took too long|timed out")]
)
def test_a_response_that_is_missing_or_slow_times_out(monkeypatch: pytest.MonkeyPatch, answer: bytes, error: str):
    monkeypatch.setattr("worker.webhooks.sending.TIMEOUT_S", 0.2)

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            for byte in answer:
                connection.sendall(bytes([byte]))
                left.wait(0.03)

    left = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        with pytest.raises(NotSent, match=error):
            post(f"http://{host}/", b"{}", {}, CallbackHosts(f"http://{host}"))
        left.set()


@pytest.mark.parametrize("host", ["x" * 64 + ".example", "no-such-name.invalid"])
def test_invalid_and_unknown_hosts_are_refused(host: str):
    with pytest.raises(NotSent, match=f"^{host}: "):
        post(f"http://{host}/", b"{}", {}, CallbackHosts(f"http://{host}"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificate(tmp_path_factory.mktemp("tls") / "hooks.pem", [x509.DNSName(_NAME)])


@pytest.fixture
def receiver(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HookReceiver]:
    """One over TLS, to which every name leads; it answers without looking at what came."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    made = HookReceiver(answer=lambda _: 404, tls=context)
    look_up: Any = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _host, *more, **options: look_up("127.0.0.1", *more, **options))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("name", "is_known", "error"),
    [(_NAME, True, ""), (_NAME, False, "certificate verify failed"), ("other.example", True, "Hostname mismatch")],
)
def test_without_a_valid_certificate_nothing_is_sent(
    receiver: HookReceiver, certificate: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_known: bool, error: str
):
    if is_known:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    url, hosts = f"https://{name}:{receiver.port}/", CallbackHosts(f"{name},127.0.0.1:{receiver.port}")
    if error:
        with pytest.raises(NotSent, match=error):
            post(url, b"{}", {}, hosts)
    else:
        assert post(url, b"{}", {}, hosts) == 404
    assert receiver.attempts == (0 if error else 1)


def test_a_connection_over_which_nothing_can_be_sent_is_closed(monkeypatch: pytest.MonkeyPatch):
    opened, connect, limits_s = list[socket.socket](), socket.create_connection, list[float]()

    def recording(*arguments: Any, **options: Any) -> socket.socket:
        limits_s.append(options["timeout"])
        opened.append(connect(*arguments, **options))
        return opened[-1]

    def without_authorities() -> ssl.SSLContext:
        raise OSError("the certificates of authorities cannot be read")

    monkeypatch.setattr(socket, "create_connection", recording)
    monkeypatch.setattr(ssl, "create_default_context", without_authorities)
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(NotSent, match="authorities"):
            post(f"https://{host}/", b"{}", {}, CallbackHosts(host))
    assert [connection.fileno() for connection in opened] == [-1]
    assert 0 < limits_s[0] <= TIMEOUT_S
