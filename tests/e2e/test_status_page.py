"""The status page in a real browser, at the width of a phone and of a desk: readable, and nothing from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.client import Client, Service

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = Path("/usr/bin/chromium")
#: Where pictures of the page go, for whoever wants to look at them.
_PICTURES = os.environ.get("SAPI_TEST_PICTURES", "")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="chromium is not installed (apt-get install chromium)"),
]


@pytest.fixture
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_one_sees_how_the_service_stands(service: Service, http: Client, browser: Browser, width: int) -> None:
    assert http.get("/v4/dummy/volumes", headers={"Prefer": "wait=20"}).status_code == 200
    failed = http.change("DELETE", "/v4/dummy/volumes/never-there")
    assert failed.status_code == 404
    page = browser.new_page(viewport={"width": width, "height": 844})
    complaints: list[str] = []
    foreign: list[str] = []
    page.on("console", lambda said: complaints.append(said.text))
    page.on("request", lambda asked: None if asked.url.startswith(service.url) else foreign.append(asked.url))
    page.goto(f"{service.url}/status")
    assert not page.get_by_text("developer").count()
    page.get_by_role("link", name="Sign in").click()
    page.wait_for_url(f"{service.url}/status")
    assert page.get_by_text("developer").first.is_visible()
    for heading in ("Storage systems", "Queues", "Listings", "Recent failures", "Workers"):
        assert page.get_by_role("heading", name=heading).is_visible()
    assert page.get_by_text("dummy.write", exact=True).first.is_visible()
    assert page.get_by_text("available", exact=True).first.is_visible()
    assert page.get_by_text("worker1@").first.is_visible()
    assert page.get_by_text("/v4/dummy/volumes/never-there").first.is_visible()
    # Nobody has to scroll sideways.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if _PICTURES:
        page.screenshot(path=Path(_PICTURES) / f"status-{width}.png", full_page=True)
    assert complaints == []
    assert [url for url in foreign if not url.startswith("data:")] == []
