"""The documentation page in a real browser: sign in, try a change out, follow its job; nothing comes from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.chromium import chromium, needs_chromium
from tests.e2e.client import Client, Service

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture(scope="module")
def page(service: Service) -> Iterator[Page]:
    """The documentation page, in a browser that notes every request and complaint."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        foreign: list[str] = []
        complaints: list[str] = []
        page.on(
            "request",
            lambda asked: foreign.append(asked.url) if not asked.url.startswith((service.url, "data:")) else None,
        )
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.goto(service.url)
        page.wait_for_selector(".opblock")
        yield page
    assert foreign == []
    assert complaints == []


@pytest.fixture(scope="module")
def signed_in_page(page: Page) -> Page:
    """The same page, after a sign-in."""
    bar = page.get_by_role("navigation").first
    assert "Debug mode" in page.inner_text("body")
    assert bar.get_by_role("link", name="Sign out").count() == 0
    bar.get_by_role("link", name="Sign in").click()
    page.wait_for_selector(".opblock")
    page.get_by_text("UBER_ADMIN").first.wait_for()
    assert bar.get_by_role("link", name="Sign in").count() == 0
    return page


def _try_out(page: Page, operation: str, values: dict[str, str], body: str = "") -> dict[str, object]:
    block: Locator = page.locator(f'[id$="-{operation}"]')
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    for name, value in values.items():
        field = block.locator(f'tr[data-param-name="{name}"]')
        if field.locator("input").count():
            field.locator("input").fill(value)
        else:
            field.locator("select").select_option(value)
    if body:
        block.locator("textarea.body-param__text").fill(body)
    block.get_by_role("button", name="Execute").click()
    answer = block.locator(".live-responses-table .response-col_description .highlight-code").first
    found: dict[str, object] = json.loads(answer.locator("pre, code").first.inner_text())
    return found


def test_a_user_signs_in_submits_a_change_and_follows_its_job(signed_in_page: Page, name: str) -> None:
    page = signed_in_page
    job = _try_out(page, "create_volume", {"subsystem": "dummy", "volume": name}, '{"size_total": 1073741824}')
    assert (job["operation"], job["target"]) == ("create_volume", f"/v4/dummy/volumes/{name}")
    followed = _try_out(page, "get_job", {"job_id": str(job["id"])})
    assert followed["id"] == job["id"]


def test_examples_can_be_executed_in_order_and_link_to_their_jobs(
    signed_in_page: Page, service: Service, http: Client
) -> None:
    page = signed_in_page
    page.goto(service.url)  # as nobody has filled it in
    volume, body = ("Create or roll back dbvol01", "Clone dbvol01 as dbvol02"), (
        "Create an empty volume", "Clone a snapshot", "Roll back to a snapshot",
    )  # fmt: skip
    _execute(page, http, "create_volume", {volume: volume[0], body: body[0]})
    _execute(page, http, "create_snapshot", {})
    _execute(page, http, "create_volume", {volume: volume[1], body: body[1]})
    _execute(page, http, "create_volume", {volume: volume[0], body: body[2]})
    page.locator("#job a").click()
    page.wait_for_url("**/console/jobs/*")
    page.locator("h1 .state-succeeded").wait_for()


def _execute(page: Page, http: Client, operation: str, examples: dict[tuple[str, ...], str]) -> None:
    """Send an operation's example as it is; ``examples``: which of those that a choice offers. Its job must succeed."""
    block = page.locator(f'[id$="-{operation}"]')
    if not block.get_by_role("button", name="Execute").count():
        block.locator(".opblock-summary-control").click()
        block.get_by_role("button", name="Try it out").click()
    for labels, label in examples.items():
        choice = block.locator("select").filter(has_text=labels[-1])
        assert choice.locator("option").all_inner_texts() == list(labels)
        choice.select_option(label=label)
    with page.expect_response(lambda response: response.request.method == "POST") as sent:
        block.get_by_role("button", name="Execute").click()
    assert sent.value.status == 202, (operation, sent.value.text())
    job = http.ended(sent.value.json()["id"])
    assert job["state"] == "succeeded", (operation, examples, job["error"])


def test_the_authorize_dialog_has_no_field_for_the_cookie(page: Page, service: Service) -> None:
    page.goto(service.url)  # another test may have left it
    page.locator(".auth-wrapper .authorize").first.click()
    dialog = page.locator(".dialog-ux")
    dialog.wait_for()
    assert "cookie" not in dialog.inner_text().lower()
    dialog.get_by_role("button", name="Close").last.click()
