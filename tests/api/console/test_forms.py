"""Every form of the console in a real browser whose script is off: each is sent, and makes the job that it promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.api.console.browser import opened, served
from tests.api.console.routes import FORMS
from tests.api.front_end import FrontEnd, accepted
from tests.chromium import chromium, needs_chromium

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from playwright.sync_api import Browser, Page
    from redis import Redis

    from tests.api.front_end import Worker

pytestmark = [pytest.mark.browser, needs_chromium]
_ACTIONS = "/console/<subsystem>/volume-actions/<action>/<path:volume>"
_POLICY = "/console/<subsystem>/policy-actions/<action>/<path:policy>"
_JOB, _JOBS = "/console/jobs/<job_id>/<action>", "/console/job-actions/<action>"
_DB01 = "/console/filer/volume-actions/{}/db01"


class Sent(NamedTuple):
    """A form: its page, what is filled in (by the fields' names), its button, and the operation of the job it makes."""

    page: str
    fields: Mapping[str, str]
    button: str
    operation: str


_THAT_MAKE_A_JOB = {
    (_ACTIONS, "snapshot"): Sent(_DB01.format("snapshot"), {"name": "s1"}, "Take the snapshot", "create_snapshot"),
    (_ACTIONS, "delete-snapshot"): Sent(
        _DB01.format("delete-snapshot") + "?name=first", {}, "Delete", "delete_snapshot"
    ),
    (_ACTIONS, "clone"): Sent(
        _DB01.format("clone"), {"new_name": "db03", "from_snapshot": "first"}, "Clone", "clone_volume"
    ),
    (_ACTIONS, "roll-back"): Sent(
        _DB01.format("roll-back") + "?from_snapshot=first", {"confirm": "db01"}, "Roll back", "roll_back_volume"
    ),
    (_ACTIONS, "lock"): Sent(_DB01.format("lock"), {"host": "host1.example.org"}, "Lock", "create_lock"),
    (_ACTIONS, "change"): Sent(_DB01.format("change"), {"comment": "Orders"}, "Save the changes", "update_volume"),
    (_ACTIONS, "unlock"): Sent(
        _DB01.format("unlock") + "?host=host1.example.org", {}, "Remove the lock", "remove_lock"
    ),
    (_ACTIONS, "restrict"): Sent(_DB01.format("restrict"), {"confirm": "db01"}, "Restrict", "restrict_volume"),
    ("/console/<subsystem>/new-volume", ""): Sent(
        "/console/filer/new-volume", {"name": "db04", "size_total": "1GiB"}, "Create", "create_volume"
    ),
    ("/console/<subsystem>/new-policy", ""): Sent(
        "/console/filer/new-policy", {"name": "p1", "rules": "h1 h2"}, "Create", "create_policy"
    ),
    ("/console/<subsystem>/snapshot-batch", ""): Sent(
        "/console/filer/snapshot-batch?where=name%3Ddb*", {"name": "all"}, "Take the snapshots", "batch"
    ),
    ("/console/<subsystem>/restricted/<name>", ""): Sent(
        "/console/filer/restricted", {"junction_path": "/again"}, "Bring back gone1", "reinstate_volume"
    ),
    (_POLICY, "add-rule"): Sent(
        "/console/filer/export/default", {"rule": "h9"}, "Add the rule", "ensure_policy_rule_present"
    ),
    (_POLICY, "remove-rule"): Sent(
        "/console/filer/export/default", {}, "Take its access away", "ensure_policy_rule_absent"
    ),
    (_POLICY, "delete"): Sent("/console/filer/export/default", {"confirm": "default"}, "Delete", "delete_policy"),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(
    browser: Browser,
    front_end: FrontEnd,
    client: FlaskClient,
    worker: Worker,
    filled: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Page]:
    """A page without script, of a user with every role."""
    monkeypatch.setattr("api.console.volume_actions._FRESH", {"Prefer": "wait=0"})
    worker.carry_out(accepted(client.post("/v4/filer/volumes/gone1", json={})))
    worker.carry_out(accepted(client.delete("/v4/filer/volumes/gone1")))
    worker.carry_out(accepted(client.put("/v4/filer/export/default/rule/host1.example.org")))
    # No worker runs reads while the forms are tried: what they show is read now.
    for path in ("/v4/filer/restricted", "/v4/filer/export/default"):
        fresh = {"Prefer": "respond-async", "Cache-Control": "no-cache"}
        worker.carry_out(accepted(client.get(path, headers=fresh)))
    with served(front_end.app()) as url, opened(browser, url, java_script_enabled=False) as page:
        yield page


def test_each_form_is_covered() -> None:
    assert {*_THAT_MAKE_A_JOB, *((_JOB, name) for name in ("cancel", "retry", "settle")),
            (_JOBS, "cancel"), (_JOBS, "retry")} == set(FORMS)  # fmt: skip


def test_each_form_submits_its_job(page: Page, client: FlaskClient) -> None:
    for sent in _THAT_MAKE_A_JOB.values():
        page.goto(sent.page)
        if sent.operation == "ensure_policy_rule_absent":
            page.locator("details.sure summary").first.click()
        for name, value in sent.fields.items():
            field = page.locator(f'form[method="post"] [name="{name}"]:not([type="hidden"])').first
            # A copied name may have blanks around it.
            field.select_option(value) if name == "from_snapshot" else field.fill(f" {value} ")
        page.get_by_role("button", name=sent.button, exact=True).first.click()
        page.locator("h1 .state-queued").wait_for()
        job = client.get(f"/v4/jobs/{page.url.rpartition('/')[2]}").json
        assert job is not None, sent
        assert (job["operation"], job["subsystem"], job["requested_by"]) == (sent.operation, "filer", "ann")


def test_forms_cancel_retry_and_settle_jobs(
    page: Page, client: FlaskClient, worker: Worker, redis_client: Redis
) -> None:
    page.goto(accepted(client.post("/v4/filer/volumes/j1", json={})).replace("/v4", "/console"))
    page.get_by_role("button", name="Cancel the job").click()
    page.locator("h1 .state-cancelled").wait_for()
    page.get_by_role("button", name="Retry").click()
    page.locator("h1 .state-queued").wait_for()
    doubt = accepted(client.post("/v4/filer/volumes/j2", json={}))
    worker.take(doubt)
    in_doubt = {"in_doubt_since": "1", "message": "the outcome is being settled"}
    redis_client.hset(f"sapi:job:{doubt.rpartition('/')[2]}", mapping=in_doubt)  # type: ignore[arg-type]
    page.goto(doubt.replace("/v4", "/console"))
    page.get_by_role("button", name="Settle").click()
    page.locator("h1 .state-succeeded").wait_for()


def test_forms_cancel_and_retry_many_jobs(page: Page, client: FlaskClient) -> None:
    for name in ("m1", "m2"):
        accepted(client.post(f"/v4/filer/volumes/{name}", json={}))
    page.goto("/console/")
    page.get_by_role("link", name="waiting").click()
    page.get_by_role("link", name="Cancel all of these").click()
    page.get_by_role("button", name="Cancel 2 jobs").click()
    assert page.locator("h1").inner_text().startswith("2 jobs cancelled")
    page.get_by_role("link", name="Show them").click()
    assert page.locator("tbody .state-cancelled").count() == 2
    page.get_by_label("State").select_option("cancelled")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name="Retry all of these").click()
    page.get_by_role("button", name="Retry 2 jobs").click()
    assert page.locator("h1").inner_text() == "2 jobs submitted anew"
