"""A front end that a real browser can reach, and browsers of users with different roles."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from werkzeug.serving import make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from playwright.sync_api import Browser, Page


@contextmanager
def served(app: WSGIApplication, port: int = 0) -> Iterator[str]:
    """Serve an application on a port of this machine (0: a free one); yields its address."""
    server = make_server("127.0.0.1", port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(10)


@contextmanager
def opened(browser: Browser, url: str, *, signed_in: bool = True, **options: Any) -> Iterator[Page]:
    """A page of one user; it must fetch nothing from other hosts, and log no error."""
    headers = {"Authorization": "Basic " + base64.b64encode(b"ann:open").decode()} if signed_in else {}
    context = browser.new_context(base_url=url, extra_http_headers=headers, **options)
    context.set_default_timeout(20_000)
    page = context.new_page()
    foreign: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda sent: None if sent.url.startswith((url, "data:")) else foreign.append(sent.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if "Content Security" in message.text else None)
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    try:
        yield page
    finally:
        context.close()
    assert foreign == []
    assert complaints == []
