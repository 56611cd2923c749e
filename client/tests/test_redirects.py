"""The server to which a browser brings the answer of the provider: others that connect do not keep it away."""

from __future__ import annotations

import socket
import threading
import urllib.request
from urllib.parse import urlsplit

from storage_api_client.sign_in.loopback import LoopbackServer


def test_a_connection_that_says_nothing_does_not_keep_the_answer_away() -> None:
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
