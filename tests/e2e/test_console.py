"""The console in a real browser: typical tasks on a running service, with and without script."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.chromium import chromium, needs_chromium
from tests.e2e.client import Client, Service

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    """A page of a signed-in user; it must fetch nothing from elsewhere and complain of nothing."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    foreign: list[str] = []
    complaints: list[str] = []
    opened.on("request", lambda sent: None if sent.url.startswith((service.url, "data:")) else foreign.append(sent.url))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "console", lambda message: complaints.append(message.text) if "Content Security" in message.text else None
    )
    opened.goto(f"{service.url}/login?next=/console/")
    yield opened
    context.close()
    assert foreign == []
    assert complaints == []


def test_a_volume_is_created_snapshotted_and_rolled_back(page: Page, service: Service, name: str) -> None:
    page.get_by_role("link", name="New volume").first.click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Size").fill("2GiB")
    page.get_by_role("button", name="Create").click()
    page.locator("h1 .state-succeeded").wait_for()
    page.get_by_role("link", name=f"/v4/dummy/volumes/{name}").click()
    page.get_by_role("link", name="Snapshot", exact=True).click()
    for snapshot in ("first", "second"):
        page.goto(f"{service.url}/console/dummy/volume-actions/snapshot/{name}")
        page.get_by_label("Name of the snapshot").fill(snapshot)
        page.get_by_role("button", name="Take the snapshot").click()
        page.locator("h1 .state-succeeded").wait_for()
    page.goto(f"{service.url}/console/dummy/volumes/{name}")
    page.get_by_role("link", name="Roll back to first").click()
    warning = page.locator(".notice.bad")
    assert "1 later snapshot will be deleted" in warning.inner_text().replace("\n", " ")
    assert warning.get_by_role("listitem").all_inner_texts() == ["second"]
    page.get_by_label(re.compile("to confirm")).fill("something else")
    page.get_by_role("button", name="Roll back").click()
    assert page.get_by_text("Type the volume's name to go on.").is_visible()
    page.get_by_label(re.compile("to confirm")).fill(name)
    page.get_by_role("button", name="Roll back").click()
    page.locator("h1 .state-succeeded").wait_for()
    page.goto(f"{service.url}/console/dummy/volumes/{name}")
    assert page.locator("#snapshots tbody th").all_inner_texts() == ["first"]


def test_volumes_are_snapshotted_restricted_and_reinstated(page: Page, service: Service, volume: str) -> None:
    page.goto(f"{service.url}/console/dummy/volumes?q={volume}")
    page.get_by_role("link", name="Snapshots of many").click()
    assert page.get_by_label("Filter").input_value() == f"name=%2A{volume}%2A"
    page.get_by_label("Name of the snapshots").fill("all")
    page.get_by_role("button", name="Take the snapshots").click()
    page.locator("h1 .state-succeeded").wait_for()
    assert page.locator("#members-head").is_visible()
    page.goto(f"{service.url}/console/dummy/volume-actions/restrict/{volume}")
    page.get_by_label(re.compile("to confirm")).fill(volume)
    page.get_by_role("button", name="Restrict").click()
    page.locator("h1 .state-succeeded").wait_for()
    page.goto(f"{service.url}/console/dummy/restricted")
    page.get_by_role("button", name=f"Bring back {volume}").click()
    page.locator("h1 .state-succeeded").wait_for()
    page.goto(f"{service.url}/console/dummy/volumes?q={volume}")
    assert page.get_by_role("link", name=volume).is_visible()


def test_errors_of_the_api_are_shown_at_the_field(page: Page, service: Service, name: str) -> None:
    page.goto(f"{service.url}/console/dummy/new-volume")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Size").fill("much")
    page.get_by_role("button", name="Create").click()
    assert page.get_by_label("Size").get_attribute("aria-invalid") == "true"
    assert "integer" in page.locator("#h-size_total").inner_text()
    assert page.get_by_label("Name").input_value() == name


def test_a_job_page_shows_its_end_by_itself(page: Page, service: Service, http: Client, name: str) -> None:
    job = http.submit("POST", f"/v4/slow/volumes/{name}", {"size_total": 2**30})
    page.goto(f"{service.url}/console/jobs/{job['id']}")
    page.locator("h1 .state-succeeded").wait_for(timeout=20_000)
    assert page.locator("#announcer").inner_text() == "The job is succeeded."


def test_everything_works_without_script(browser: Browser, service: Service, http: Client, name: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(f"{service.url}/login?next=/console/dummy/new-volume")
    opened.get_by_label("Name").fill(name)
    opened.get_by_label("Size").fill("1GiB")
    opened.get_by_role("button", name="Create").click()
    _, _, job_id = opened.url.partition("/console/jobs/")
    assert http.ended(job_id)["state"] == "succeeded"
    opened.goto(f"{service.url}/console/dummy/volumes?q={name}")
    assert opened.get_by_role("link", name=name).is_visible()
    opened.get_by_label("Filter").fill("size_total=<5")
    opened.get_by_role("button", name="Show").click()
    assert opened.get_by_text("No volume matches.").is_visible()
    context.close()


def test_names_and_messages_are_text(page: Page, service: Service, http: Client, volume: str) -> None:
    evil = "<img src=x onerror=alert(1)>"
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    answer = http.get("/console/dummy/volumes", params={"q": evil}, headers={"Accept": "text/html"})
    assert "<img" not in answer.text
    page.goto(f"{service.url}/console/dummy/volume-actions/clone/{volume}?new_name={evil}&from_snapshot={evil}")
    page.goto(f"{service.url}/console/jobs?volume={evil}")
    assert dialogs == []


def test_a_page_of_another_site_changes_nothing(service: Service, http: Client, volume: str) -> None:
    forms = {
        f"/console/dummy/volume-actions/snapshot/{volume}": {"name": "forged"},
        f"/console/dummy/volume-actions/restrict/{volume}": {"confirm": volume},
        "/console/dummy/new-volume": {"name": f"{volume}_2", "size_total": "1GiB"},
    }
    for path, fields in forms.items():
        answer = http.post(
            path, data=fields, headers={"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        )
        assert answer.status_code == 403, path
    assert http.get(f"/v4/dummy/volumes/{volume}/snapshots", headers={"Cache-Control": "no-cache"}).status_code in (
        200,
        202,
    )
    assert http.get(f"/v4/dummy/volumes/{volume}", headers={"Cache-Control": "no-cache", "Prefer": "wait=10"}).ok


def test_pages_cannot_be_framed_and_run_no_foreign_script(http: Client) -> None:
    policy = http.get("/console/").headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


def test_a_form_that_is_sent_twice_makes_one_job(http: Client, volume: str) -> None:
    fields = {"name": "once", "key": "0123456789abcdef"}
    path = f"/console/dummy/volume-actions/snapshot/{volume}"
    first, second = (http.post(path, data=fields, allow_redirects=False) for _ in range(2))
    assert first.status_code == second.status_code == 303
    assert first.headers["Location"] == second.headers["Location"]


def test_browsers_get_pages_and_scripts_get_json(http: Client, volume: str) -> None:
    html = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    job = http.submit("POST", f"/v4/dummy/volumes/{volume}/snapshots/s", {})
    for path in ("/v4/jobs", f"/v4/jobs/{job['id']}"):
        assert http.get(path, headers=html).headers["Content-Type"].startswith("text/html")
        assert http.get(path).headers["Content-Type"] == "application/json"
    assert f"/console/dummy/volumes/{volume}" in http.get(f"/v4/jobs/{job['id']}", headers=html).text


def test_a_table_can_be_downloaded(http: Client, volume: str) -> None:
    rows = http.get(f"/console/dummy/volumes.csv?q={volume}").text.splitlines()
    assert rows[0].startswith("name,")
    assert [row.split(",")[0] for row in rows[1:]] == [volume]
    assert [row["name"] for row in http.get(f"/console/dummy/volumes.json?q={volume}").json()] == [volume]


def test_actions_are_absent_without_their_role(stranger: Client, volume: str) -> None:
    page = stranger.get(f"/console/dummy/volumes/{volume}").text
    assert volume in page
    assert "volume-actions" not in page
    for path in (f"/console/dummy/volume-actions/snapshot/{volume}", "/console/dummy/new-volume", "/console/jobs"):
        assert stranger.get(path).status_code == 401, path
