"""Every page and form of the console by role, with and without script, light and dark, narrow and wide.

The pages are found by following links, and held to the URL map: a new route that no page leads to, or that is not in
`routes`, fails here; one that is found is looked at in the browser, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pytest

from tests.api.console.browser import opened, served
from tests.api.console.crawler import Crawl
from tests.api.console.injected_scripts import EVIL, inject
from tests.api.console.routes import FORMS, PAGES, as_one, may, routes_of
from tests.api.front_end import ALL, FrontEnd, accepted
from tests.chromium import chromium, needs_chromium
from worker.catalog.operations import Role

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from playwright.sync_api import Browser, Page
    from redis import Redis

    from tests.api.front_end import Worker


def in_browser(test: F) -> F:
    """Mark a test that needs a real browser."""
    marked: F = pytest.mark.browser(needs_chromium(test))
    return marked


F = TypeVar("F", bound=Callable[..., Any])
#: Of jobs whose operation asks for ADMIN; other jobs of others may ask for UBER_ADMIN, which the page cannot know.
_BULK_RETRY = ("/console/job-actions/<action>", "retry")
_CALLERS: list[tuple[Role, ...]] = [
    (), (Role.USER,), (Role.USER, Role.ADMIN), (Role.USER, Role.UBER_ADMIN), ALL,
]  # fmt: skip
#: What axe, which is in the page by then, finds wrong with its colours.
_PALE_IN_LIGHT = """axe.run({runOnly: {type: 'rule', values: ['color-contrast']}, resultTypes: ['violations']})
  .then((report) => report.violations.flatMap((each) => each.nodes.map((node) => node.html)))"""
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
#: A time as programs write it, and a name that has no words.
_FOR_PROGRAMS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d|\b(?:None|True|False)\b")
#: Pages that say what is wrong with an address that was typed.
_TYPED = (
    "/console/filer/volumes?filter=x", "/console/jobs?created_after=x", "/console/jobs?state=queued,failed",
    "/console/nowhere/volumes", "/console/other/volumes", "/problems/lock-held",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def open_front_end(redis_url: str) -> FrontEnd:
    """One whose pages all clients may read."""
    return FrontEnd(redis_url, settings={"cache_fresh": 86400}, user_groups=())


@pytest.fixture
def full(
    front_end: FrontEnd,
    client: FlaskClient,
    worker: Worker,
    redis_client: Redis,
    filled: str,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """Jobs in every state, a batch, volumes out of service, one without snapshots and locks; script in every name."""
    # Nobody carries reads out here: forms take what is cached, and a table that is not says so at once.
    monkeypatch.setattr("api.console.volume_actions._FRESH", {"Prefer": "wait=0"})
    monkeypatch.setattr("api.console.volume_table.read_headers", lambda: {"Prefer": "wait=0"})
    for name in ("db02", "gone1"):
        worker.carry_out(accepted(client.post(f"/v4/filer/volumes/{name}", json={"comment": EVIL})))
    worker.carry_out(accepted(client.delete("/v4/filer/volumes/gone1")))
    inject(front_end, worker)
    for part in ("snapshots", "locks"):
        worker.carry_out(accepted(client.get(f"/v4/filer/volumes/db02/{part}", headers={"Prefer": "respond-async"})))
    worker.fail(accepted(client.post("/v4/filer/volumes/f1", json={"comment": EVIL})), "outcome-unknown")
    client.post(f"{accepted(client.post('/v4/filer/volumes/c1', json={}))}/cancel")
    doubt = accepted(client.post("/v4/filer/volumes/doubt1", json={}))
    worker.take(doubt)
    in_doubt = {"in_doubt_since": "1", "message": "the outcome is being settled"}
    redis_client.hset(f"sapi:job:{doubt.rpartition('/')[2]}", mapping=in_doubt)  # type: ignore[arg-type]
    for name in ("third", "fourth"):
        accepted(client.post(f"/v4/filer/volumes/{filled}/snapshots/{name}", json={}))
    return filled


def _name_of(value: object) -> str:
    return "+".join(value) or "stranger" if isinstance(value, tuple) else str(value)


def _front_of(roles: tuple[Role, ...], front_end: FrontEnd, open_front_end: FrontEnd) -> tuple[FrontEnd, FlaskClient]:
    return (front_end, front_end.client(*roles)) if roles else (open_front_end, open_front_end.stranger())


@pytest.mark.parametrize("roles", _CALLERS, ids=_name_of)
def test_pages_link_only_to_what_the_role_allows(
    front_end: FrontEnd, open_front_end: FrontEnd, full: str, roles: tuple[Role, ...], request: pytest.FixtureRequest
) -> None:
    _, client = _front_of(roles, front_end, open_front_end)
    # A new application opens the audit log anew.
    audit = request.getfixturevalue("audit")
    crawl = Crawl(client).follow("/console/")
    assert crawl.broken == []
    assert [address for address, text in crawl.texts.items() if _FOR_PROGRAMS.search(_words(text))] == []
    # Nor do pages ask for what their reader may not see.
    assert {line["allowed"] for line in audit()} == {True}
    assert {("GET", as_one(rule)) for rule in crawl.rules} <= routes_of(front_end)
    has = roles or (Role.USER,)
    pages = {
        rule for (method, rule), access in PAGES.items() if method == "GET" and may(has, access, signed_in=bool(roles))
    }
    # The address without its slash leads to the one with it.
    assert crawl.rules == pages - {"/console"}
    forms = {form for form, access in FORMS.items() if may(has, access, signed_in=bool(roles))}
    assert crawl.forms - {_BULK_RETRY} == forms - {_BULK_RETRY}
    assert (_BULK_RETRY in crawl.forms) is bool({Role.ADMIN, Role.UBER_ADMIN} & set(roles))


def _words(page: str) -> str:
    """What people read: without JSON, titles, and a filter as it is in the address."""
    visible = re.sub(r"<(pre|title)\b.*?</\1>|finished after: \S+", "", page, flags=re.DOTALL)
    return re.sub(r"<[^>]*>", " ", visible)


class View(NamedTuple):
    """How a page is looked at."""

    width: int
    scheme: str
    script: bool


#: By caller: two that differ in everything; together they have every pair of width, scheme and script.
#: Users with every role see each page in both, the others each page in one.
_VIEWS = {
    (): (View(390, "dark", script=False), View(1280, "light", script=True)),
    (Role.USER,): (View(390, "light", script=False), View(1280, "dark", script=True)),
    (Role.USER, Role.ADMIN): (View(390, "light", script=True), View(1920, "dark", script=False)),
    (Role.USER, Role.UBER_ADMIN): (View(1280, "dark", script=False), View(390, "light", script=True)),
    ALL: (View(390, "dark", script=True), View(1280, "light", script=False)),
}


@in_browser
@pytest.mark.parametrize("roles", _CALLERS, ids=_name_of)
def test_each_page_fits_and_is_accessible(
    browser: Browser, front_end: FrontEnd, open_front_end: FrontEnd, full: str, roles: tuple[Role, ...]
) -> None:
    served_by, client = _front_of(roles, front_end, open_front_end)
    crawl = Crawl(client).follow("/console/")
    # Of pages that have the same parts, one is enough.
    different = {_parts(text): address for address, text in reversed(crawl.texts.items())}.values()
    assert different
    addresses = [*different, *_TYPED]
    for place, view in enumerate(_VIEWS[roles]):
        size = {"width": view.width, "height": 900}
        with (
            served(served_by.app(roles or ALL)) as url,
            opened(
                browser, url, signed_in=bool(roles), viewport=size, color_scheme=view.scheme,
                java_script_enabled=view.script,
            ) as page,
        ):  # fmt: skip
            for address in addresses if roles == ALL else addresses[place::2]:
                page.goto(address)
                assert page.locator("h1").count() == 1, address
                assert page.evaluate("document.documentElement.scrollWidth") <= view.width, address
                # axe is a script.
                if roles == ALL and view.script:
                    _check_accessibility(page)


def _parts(text: str) -> frozenset[str]:
    """What a page consists of, whatever it shows: its sections and fields by their ids, and its forms."""
    without_names = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|/db0[12]\b", "", text)
    return frozenset(re.findall(r' (?:id|action)="([^"]+)"', without_names))


def _check_accessibility(page: Page) -> None:
    """As it is, and the colours of the other scheme."""
    from axe_playwright_python.sync_playwright import Axe

    # What passes would otherwise be described, too.
    report = Axe().run(page, options={"runOnly": _RULES, "resultTypes": ["violations"]})
    assert report.violations_count == 0, (page.url, report.generate_report())
    page.emulate_media(color_scheme="light")
    assert page.evaluate(_PALE_IN_LIGHT) == [], page.url
    page.emulate_media(color_scheme="dark")
