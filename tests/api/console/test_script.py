"""What the console's script does in each scenario, as it is recorded in `recorded/script.txt` (`make pages`).

In a page of a real browser, whose clock, network and events do what the scenario says (`recorded/script.js`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.chromium import chromium, needs_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = [pytest.mark.browser, needs_chromium]
_FOLDER = Path(__file__).with_name("recorded")
_RECORDED = _FOLDER / "script.txt"
_SCRIPT = Path(__file__).resolve().parents[3] / "api/console/static/console.js"
_URL = "http://console.example.org/console/"
_PAGE = """<!doctype html><title>first</title>
<body data-url="/v4/events?id=1"><main id="main" tabindex="-1">{}</main><div id="announcer"></div><script>{}</script>"""


def _answer(body: str, route: Route) -> None:
    route.fulfill(content_type="text/html", body=_PAGE.format(body, _SCRIPT.read_text("utf-8")))


def _play(page: Page, name: str) -> Iterator[str]:
    """What is done and seen in a scenario."""
    body, *steps = page.evaluate("name => scenarios[name].map(String)", name)
    page.route("**/*", partial(_answer, body))
    page.goto(_URL)
    seen = ""
    for place, step in enumerate(["the page has come", *steps]):
        page.evaluate("([name, place]) => place && scenarios[name][place]()", [name, place])
        yield f"* {step.removeprefix('() => ')}"
        yield from page.evaluate("log.splice(0)")
        before, seen = seen, page.evaluate("seen()")
        if seen != before:
            yield f"shows {seen}"
    page.unroute("**/*")


def test_the_script_does_what_is_recorded() -> None:
    with chromium() as browser:
        page = browser.new_page()
        for script in ("script.js", "scenarios.js"):
            page.add_init_script(path=_FOLDER / script)
        page.route("**/*", partial(_answer, ""))
        page.goto(_URL)
        lines = [
            line for name in page.evaluate("Object.keys(scenarios)") for line in (f"# {name}", *_play(page, name), "")
        ]
    if os.environ.get("RECORD_PAGES"):
        _RECORDED.write_text("\n".join(lines), "utf-8")
    assert len(lines) > 100
    assert "\n".join(lines) == _RECORDED.read_text("utf-8")
