"""The server for the callback of the provider: other connections do not block it."""

from __future__ import annotations

import socket
import threading
import urllib.request
from urllib.parse import urlencode, urlsplit

import httpx
import pytest

from storage_api_client.sign_in.loopback import LoopbackServer


def test_a_silent_connection_does_not_block_the_callback() -> None:
    """Browsers open some in advance."""
    with LoopbackServer() as server:
        handler = server._server.RequestHandlerClass
        assert 0 < float(getattr(handler, "timeout", None) or 0) <= 10
        handler.timeout = 0.05  # type: ignore[attr-defined]
        uri = server.redirect_uri
        with socket.create_connection(("127.0.0.1", urlsplit(uri).port or 0)):
            browser = threading.Thread(target=urllib.request.urlopen, args=(f"{uri}?code=c&state=s",))
            browser.start()
            assert server.wait(20) == {"code": "c", "state": "s"}
            browser.join()


@pytest.mark.parametrize("answer", [{"code": "x", "state": "s"}, {"error": "access_denied", "state": "s"}])
def test_other_requests_do_not_end_the_wait(answer: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    answers: list[dict[str, str] | None] = []
    with LoopbackServer() as server:
        waiting = threading.Thread(target=lambda: answers.append(server.wait(20)))
        waiting.start()
        # Other machines cannot send it an answer.
        assert server._server.server_address[0] == "127.0.0.1"
        addresses = ("", "?state=s", f"/other?{urlencode(answer)}", f"?{urlencode(answer)}")
        statuses = [httpx.get(f"{server.redirect_uri}{query}").status_code for query in addresses]
        waiting.join(20)
    assert (statuses, answers) == ([404, 404, 404, 200], [answer])
    # The code is a secret.
    assert capsys.readouterr() == ("", "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(server.redirect_uri).port or 0))


def test_the_wait_for_the_callback_times_out() -> None:
    with LoopbackServer() as server:
        assert server.wait(0) is None
