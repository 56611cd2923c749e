"""The console in a real browser: paper, keyboard, events, address prefixes, and jobs in states that are rare.

And what the documentation page says of them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.wrappers import Response

from tests.api.console.browser import opened, served
from tests.api.front_end import FrontEnd, accepted
from tests.chromium import chromium, needs_chromium

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from playwright.sync_api import Browser
    from redis import Redis

    from tests.api.front_end import Worker

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def test_pages_can_be_printed_on_paper(
    browser: Browser, front_end: FrontEnd, client: FlaskClient, worker: Worker, filled: str
) -> None:
    failed = accepted(client.post("/v4/filer/volumes/f1", json={}))
    worker.fail(failed, "outcome-unknown")
    with served(front_end.app()) as url, opened(browser, url, viewport={"width": 700, "height": 900}) as page:
        page.emulate_media(media="print", color_scheme="dark")
        for path in (
            "/console/",
            "/console/filer/volumes",
            "/console/filer/volumes/db01",
            failed.replace("/v4", "/console"),
        ):
            page.goto(path)
            assert page.locator("header.top").is_hidden()
            assert page.locator("button:visible").count() == 0, path
            assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
            assert page.evaluate("document.documentElement.scrollWidth") <= 700, path


@pytest.mark.parametrize(("outcome", "state"), [("was made", "succeeded"), ("cannot be told", "failed")])
def test_a_change_in_doubt_is_settled_by_hand(
    browser: Browser,
    front_end: FrontEnd,
    client: FlaskClient,
    worker: Worker,
    redis_client: Redis,
    outcome: str,
    state: str,
) -> None:
    path = accepted(client.post("/v4/filer/volumes/doubt1", json={}))
    worker.take(path)
    doubt = {"in_doubt_since": "1", "message": "the outcome is being settled"}
    redis_client.hset(f"sapi:job:{path.rpartition('/')[2]}", mapping=doubt)  # type: ignore[arg-type]
    with served(front_end.app()) as url, opened(browser, url) as page:
        page.goto(path.replace("/v4", "/console"))
        page.get_by_label("The change").select_option(outcome)
        page.get_by_role("button", name="Settle").click()
        page.locator(f"h1 .state-{state}").wait_for()
        assert page.get_by_role("button", name="Settle").count() == 0


def test_a_failed_job_is_retried_and_the_new_one_cancelled(
    browser: Browser, front_end: FrontEnd, client: FlaskClient, worker: Worker
) -> None:
    path = accepted(client.post("/v4/filer/volumes/again1", json={}))
    worker.fail(path, "worker-lost")
    with served(front_end.app()) as url, opened(browser, url) as page:
        page.goto(path.replace("/v4", "/console"))
        page.get_by_role("button", name="Retry").click()
        page.locator("h1 .state-queued").wait_for()
        assert page.get_by_role("link", name=path.rpartition("/")[2]).is_visible()
        page.get_by_role("button", name="Cancel the job").click()
        page.locator("h1 .state-cancelled").wait_for()


def test_an_event_updates_a_page_and_keeps_the_focus(
    browser: Browser, front_end: FrontEnd, client: FlaskClient, worker: Worker, filled: str
) -> None:
    with served(front_end.app()) as url, opened(browser, url) as page:
        with page.expect_request("**/v4/events*"):
            page.goto("/console/filer/volumes/db01")
        page.get_by_role("link", name="Roll back to first").focus()
        worker.carry_out(accepted(client.post("/v4/filer/volumes/db01/snapshots/live", json={})))
        page.locator("#snapshots").get_by_role("rowheader", name="live").wait_for()
        assert page.evaluate("document.activeElement.getAttribute('href')").endswith("from_snapshot=first")


def test_the_documentation_summarizes_the_problems_of_an_operation(
    browser: Browser, front_end: FrontEnd, redis_client: Redis
) -> None:
    with served(front_end.app()) as url, opened(browser, url) as page:
        page.goto("/")
        page.locator(".opblock").first.wait_for()
        paths = page.evaluate("ui.specSelectors.specJson().toJS().paths")
    operations = [each for path in paths.values() for each in path.values() if "responses" in each]
    problems = [[status for status in each["responses"] if status >= "4"] for each in operations]
    assert ["default"] in problems
    # One alone stays as it is, beside the answer to anything else.
    assert max(map(len, problems)) <= 2


def test_the_console_can_be_used_by_keyboard_alone(browser: Browser, front_end: FrontEnd, filled: str) -> None:
    with served(front_end.app()) as url, opened(browser, url) as page:
        page.goto("/console/filer/volumes?q=db01")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        page.get_by_role("link", name="db01").focus()
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        page.wait_for_url("**/volumes/db01")


def test_below_an_address_prefix_every_link_has_it(
    browser: Browser, redis_url: str, redis_client: Redis, worker_of: Callable[[FrontEnd], Worker]
) -> None:
    """Behind a proxy that passes on what is below `/storage`, and nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/storage"
    front_end = FrontEnd(redis_url, auth={"public_url": url})
    proxy = DispatcherMiddleware(Response("outside of the service", 404), {"/storage": front_end.app()})
    with served(proxy, port), opened(browser, url) as page:
        page.goto(f"{url}/console/filer/new-volume")
        page.get_by_label("Name").fill("below1")
        page.get_by_label("Size").fill("1GiB")
        with page.expect_request(f"{url}/v4/events*"):
            page.get_by_role("button", name="Create").click()
        page.locator("h1 .state-queued").wait_for()
        job = page.url
        assert job.startswith(f"{url}/console/jobs/")
        worker_of(front_end).carry_out(f"/{job.rpartition('/')[2]}")
        page.locator("h1 .state-succeeded").wait_for()
        result = page.get_by_role("link", name="The result as JSON").get_attribute("href")
        assert result == f"/storage/v4/jobs/{job.rpartition('/')[2]}/result"
        for path in ("/console/", "/console/jobs", "/console/filer/capacity", "/"):
            page.goto(url + path)
            page.locator("h1, .opblock").first.wait_for()
            links = page.evaluate("[...document.querySelectorAll('a, link, script[src]')].map((e) => e.href || e.src)")
            own_links = [link for link in links if link.startswith(url.removesuffix("/storage"))]
            assert own_links
            assert [link for link in own_links if not link.startswith(f"{url}/")] == []
