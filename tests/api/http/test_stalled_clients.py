"""Connections whose clients send nothing more: which are closed, and which are not."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from api.http.stalled_clients import ConnectionWatch


class Server:
    """A listening socket of this process, and what it has accepted."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    def connected(self, sent: bytes = b"", answered: bytes = b"") -> tuple[socket.socket, socket.socket]:
        """A client that has sent something, and was answered after that; the server's end of it."""
        client = self._stack.enter_context(socket.create_connection(self._listening.getsockname(), timeout=20))
        served = self._stack.enter_context(self._listening.accept()[0])
        if sent:
            client.sendall(sent)
            assert served.recv(len(sent))
        if answered:
            self.answer(client, served, answered)
        return client, served

    @staticmethod
    def answer(client: socket.socket, served: socket.socket, text: bytes) -> None:
        """Send something, and see that it has arrived."""
        served.sendall(text)
        assert client.recv(len(text)) == text


@pytest.fixture
def server() -> Iterator[Server]:
    with ExitStack() as stack:
        yield Server(stack)


def is_cut_off(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    finally:
        client.settimeout(20)


@pytest.mark.parametrize("sent", [b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{", b"GET"])
def test_a_client_that_stops_sending_is_disconnected(server: Server, sent: bytes) -> None:
    client, _ = server.connected(sent)
    watch = ConnectionWatch(0.0)
    watch.check()
    assert not is_cut_off(client)
    watch.check()
    assert is_cut_off(client)


def test_a_client_that_sends_single_bytes_is_disconnected(server: Server) -> None:
    client, served = server.connected(b"POST / HTTP/1.1")
    watch = ConnectionWatch(0.0)
    watch.check()
    client.sendall(b"\r")
    assert served.recv(1)
    watch.check()
    assert is_cut_off(client)


def test_a_client_that_receives_a_response_is_not_disconnected(server: Server) -> None:
    client, served = server.connected(b"GET / HTTP/1.1\r\n\r\n")
    watch = ConnectionWatch(0.0)
    for _ in range(5):
        watch.check()
        server.answer(client, served, b"event: job\n\n")
    assert not is_cut_off(client)


def test_a_client_that_has_sent_the_next_request_is_not_disconnected(server: Server) -> None:
    client, served = server.connected(b"GET / HTTP/1.1\r\n\r\n")
    watch = ConnectionWatch(0.0)
    watch.check()
    server.answer(client, served, b"HTTP/1.1 204 No Content\r\n\r\n")
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert served.recv(100)
    watch.check()
    assert not is_cut_off(client)
    watch.check()
    assert is_cut_off(client)


def test_an_idle_client_and_the_listening_socket_are_not_disconnected(server: Server) -> None:
    client, served = server.connected(b"GET / HTTP/1.1\r\n\r\n")
    # Within one tick of the kernel's clock it does not know what came first.
    threading.Event().wait(0.05)
    server.answer(client, served, b"HTTP/1.1 204 No Content\r\n\r\n")
    watch = ConnectionWatch(0.0)
    for _ in range(3):
        watch.check()
    assert not is_cut_off(client)
    server.connected(b"x")


def test_closed_connections_are_forgotten(server: Server) -> None:
    client, served = server.connected(b"GET")
    # This process may have other connections, of servers of other tests.
    inode = os.fstat(served.fileno()).st_ino
    watch = ConnectionWatch(60.0)
    watch.check()
    assert inode in watch._pending
    client.close()
    served.close()
    watch.check()
    assert inode not in watch._pending


def test_a_client_within_the_time_limit_is_not_disconnected(server: Server) -> None:
    client, _ = server.connected(b"GET / HTTP/1.1\r\n\r\n")
    watch = ConnectionWatch(60.0)
    for _ in range(3):
        watch.check()
    assert not is_cut_off(client)


def test_outgoing_connections_are_not_disconnected(server: Server) -> None:
    client, served = server.connected(b"x")
    watch = ConnectionWatch(0.0)
    for _ in range(2):
        served.sendall(b"y")
        watch.check()
    assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0
    assert served.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


def test_a_check_leaves_no_file_open(server: Server, tmp_path: Path) -> None:
    server.connected(b"x")
    watch = ConnectionWatch(60.0)
    with (tmp_path / "file").open("w"):
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(3):
            watch.check()
        assert len(list(Path("/proc/self/fd").iterdir())) == before
