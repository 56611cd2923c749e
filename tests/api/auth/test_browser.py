"""Signing in in a real browser: to the provider and back; changes from a page of ours, none from another site's."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from werkzeug.serving import make_server

from tests.api.auth.auth_app import with_provider
from tests.chromium import chromium, needs_chromium
from tests.identity_provider.fixtures import CLIENT_ID

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture
def address(redis_client, provider) -> Iterator[str]:
    """Where the service is."""
    app = with_provider(redis_client, provider)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    url = f"http://localhost:{server.server_port}"
    provider.clients[CLIENT_ID].redirect_uris = [f"{url}/oauth-done"]
    yield url
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page():
    with chromium() as browser:
        yield browser.new_page()


POST = "async (url) => (await fetch(url, {method: 'POST'})).status"


def test_signing_in_changing_something_and_signing_out(address, provider, page):
    page.goto(f"{address}/login?next=/whoami")
    page.get_by_label("User").fill("adam")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{address}/whoami")

    assert '"name":"adam"' in page.content()
    assert page.evaluate("document.cookie") == ""
    assert page.evaluate(POST, "/v4/needs/ADMIN") == 200

    page.goto(f"{address}/logout?next=/whoami")
    assert '"name":""' in page.content()
    assert page.evaluate(POST, "/v4/needs/ADMIN") == 401


def test_a_page_of_another_site_changes_nothing(address, provider, page):
    page.goto(f"{address}/login?next=/whoami")
    page.get_by_label("User").fill("adam")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{address}/whoami")

    # Another site by scheme and host, where the browser would send cookies if it could.
    page.goto(f"{provider.issuer}/jwks")
    page.set_content(f"<form method=post action='{address}/v4/needs/ADMIN'><button>Win a prize</button></form>")
    with page.expect_response(f"{address}/v4/needs/ADMIN") as caught:
        page.get_by_role("button").click()
    assert caught.value.status in (401, 403)

    page.goto(f"{address}/whoami")
    assert '"name":"adam"' in page.content()
