"""The server is given a list, whatever the application answers with."""

from __future__ import annotations

import pytest

from api.http.buffering import BufferedResponseMiddleware


class Streamed:
    """An answer in parts, which must be closed."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.closed = 0
        self._breaks = breaks

    def __iter__(self):
        yield b"one "
        if self._breaks:
            raise ZeroDivisionError
        yield b"two"

    def close(self):
        self.closed += 1


def answered(chunks):
    return BufferedResponseMiddleware(lambda _environ, _start: chunks)({}, print)


def test_parts_are_joined_and_the_iterable_is_closed():
    chunks = Streamed()
    assert answered(chunks) == [b"one two"]
    assert chunks.closed == 1


def test_a_list_is_passed_unchanged():
    chunks = [b"prepared"]
    assert answered(chunks) is chunks


def test_an_iterable_that_raises_is_closed():
    chunks = Streamed(breaks=True)
    with pytest.raises(ZeroDivisionError):
        answered(chunks)
    assert chunks.closed == 1


def test_every_route_returns_a_list(front_end):
    app = front_end.app()
    for path in ("/healthz", "/v4/nothing", "/v4/filer/volumes", "/console/"):
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "wsgi.url_scheme": "http", "SERVER_NAME": "x"}
        environ |= {"SERVER_PORT": "80", "REMOTE_ADDR": "127.0.0.1"}
        assert isinstance(app.wsgi_app(environ, lambda *_: None), list)
