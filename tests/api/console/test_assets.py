"""What the console's script and style do, as it is recorded in `recorded/script.txt` and `style.txt` (`make pages`).

In pages of a real browser. The script's clock, network and events do what a scenario says (`recorded/script.js`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.chromium import chromium, needs_chromium
from worker.jobs.record import State

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = [pytest.mark.browser, needs_chromium]
_FOLDER = Path(__file__).with_name("recorded")
_ASSETS = Path(__file__).resolve().parents[3] / "api/console/static"
_URL = "http://console.example.org/console/"
_DOCS_URL = "http://docs.example.org/storage/"
_PAGE = """<!doctype html><title>first</title>
<body data-url="/v4/events?id=1"><main id="main" tabindex="-1">{}</main><div id="announcer"></div><script>{}</script>"""

#: Width and medium of what the style is recorded for.
_MEDIA: dict[str, tuple[int, dict[str, Any]]] = {
    "wide": (1280, {"color_scheme": "light"}),
    "narrow": (390, {"color_scheme": "dark"}),
    "print": (1280, {"media": "print", "color_scheme": "dark"}),
}


def _answer(body: str, route: Route) -> None:
    route.fulfill(content_type="text/html", body=_PAGE.format(body, (_ASSETS / "console.js").read_text("utf-8")))


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def _is_recorded(name: str, lines: list[str]) -> bool:
    text = "\n".join(lines) + "\n"
    if os.environ.get("RECORD_PAGES"):
        (_FOLDER / name).write_text(text, "utf-8")
    assert text == (_FOLDER / name).read_text("utf-8")
    return True


def test_the_script_behaves_as_recorded(browser: Browser) -> None:
    page = browser.new_page()
    for script in ("script.js", "scenarios.js"):
        page.add_init_script(path=_FOLDER / script)
    page.route("**/*", partial(_answer, ""))
    page.goto(_URL)
    names = page.evaluate("Object.keys(scenarios)")
    assert len(names) > 20
    assert _is_recorded("script.txt", [line for name in names for line in (f"# {name}", *_play(page, name), "")])


def test_the_documentation_page_is_as_recorded(browser: Browser) -> None:
    page = browser.new_page()
    page.add_init_script(path=_FOLDER / "docs-page.js")
    script = (_ASSETS.parents[1] / "docs_page/page.js").read_text("utf-8")
    whole = f'<span id="who"></span><span id="job"></span><script>{script}</script>'
    page.route("**/*", lambda route: route.fulfill(content_type="text/html", body=whole))
    page.goto(f"{_DOCS_URL}#{quote('no system, and nobody can tell who asks')}")
    lines = []
    for name in page.evaluate("scenarios"):
        page.goto("about:blank")
        page.goto(f"{_DOCS_URL}#{quote(name)}")
        page.wait_for_function("window.ui && document.querySelector('#who').textContent")
        shown = json.dumps(page.evaluate("ui"), indent=1, sort_keys=True).splitlines()
        lines += [f"# {name}", *page.evaluate("log"), page.inner_text("#who"), *shown]
    for number in range(page.evaluate("responses.length")):
        # What the client sees stays as it is.
        assert page.evaluate("n => ui.responseInterceptor(responses[n]) === responses[n]", number)
        lines.append(f"* response {number}: {page.inner_html('#job')}")
    assert _is_recorded("docs-page.txt", lines)


def test_the_keyboard_focus_is_visible(browser: Browser) -> None:
    page = browser.new_page()
    style = (_ASSETS / "console.css").read_text("utf-8")
    parts = '<a class="skip" href="#x">x</a><a href="#x">x</a><button>x</button><input><select></select>'
    page.set_content(f'<style>{style}</style><body>{parts}<details><summary>x</summary></details><p tabindex="0">x')
    for kind in ("A", "A", "BUTTON", "INPUT", "SELECT", "SUMMARY", "P"):
        page.keyboard.press("Tab")
        seen = page.evaluate(
            "() => { const focused = document.activeElement, style = getComputedStyle(focused);"
            " return [focused.tagName, style.outlineStyle, focused.getBoundingClientRect().left >= 0]; }"
        )
        assert seen == [kind, "solid", True]


@pytest.mark.parametrize("medium", _MEDIA)
def test_the_style_is_as_recorded(browser: Browser, medium: str) -> None:
    width, options = _MEDIA[medium]
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.emulate_media(**options)
    states = " ".join(f'<span class="state state-{state}">x</span>' for state in (*State, "draining"))
    style = (_ASSETS / "console.css").read_text("utf-8")
    page.set_content(f"<style>{style}</style><body>{(_FOLDER / 'style.html').read_text('utf-8')}<p>{states}</p>")
    lines = page.evaluate((_FOLDER / "styles.js").read_text("utf-8"))
    assert len(lines) > 50
    assert _is_recorded(f"style-{medium}.txt", lines)
