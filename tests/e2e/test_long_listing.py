"""Section 3 of the contract: under a stream of changes a listing that takes long is read from its copy, always."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.e2e.client import Client
from tests.e2e.own_stack import LIST, QUICK, OwnStack, own_stack
from tests.e2e.race import Answer, Model
from tests.e2e.race_reader import Workload

#: How long the filer takes to list, and between two changes, and how long it is looked at all in all (seconds).
LISTING_S = float(os.environ.get("SAPI_TEST_LISTING_S", "5"))
CHANGE_EVERY_S = float(os.environ.get("SAPI_TEST_CHANGE_EVERY_S", "0.3"))
LOOK_S = float(os.environ.get("SAPI_TEST_LOOK_S", "0"))
REFRESHES, READERS, READ_EVERY_S = 2, 3, 0.02
LISTING = "long/volumes"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    options = {"volumes": 30, "list_latency_s": LISTING_S, "latency_s": 0.02}
    with own_stack(tmp_path_factory.mktemp("long"), {"long": options}, QUICK, LIST) as running:
        yield running


class Traffic:
    """One who changes, some who read, and what they saw."""

    def __init__(self, stack: OwnStack) -> None:
        self.stack = stack
        self.model = Model()
        self.changes = 0
        #: How reads were answered, and the refreshes that they were answered with.
        self.statuses: Counter[str] = Counter()
        self.refresh_ids: set[str] = set()
        self._changer = stack.client()
        self._rhythm = threading.Event()

    def change(self) -> None:
        """One change: a volume is made; one that was made before is changed, and one that was made long before goes."""
        number, turn = divmod(self.changes, 3)
        self.changes += 1
        method, age = (("POST", 0), ("PATCH", 2), ("DELETE", 6))[turn]
        if number < age:
            return
        name = f"v{number - age}"
        body = {"size_total": 2**30 + self.changes * 4096} if method != "DELETE" else None
        submitted = time.monotonic()
        answer = self._changer.change(method, f"/v4/{LISTING}/{name}", body)
        assert answer.status_code in (201, 200, 204), answer.text
        state = self.model.same(answer.json()) if answer.content else None
        self.model.changed({(LISTING, name): state}, submitted, time.monotonic(), f"{method} {name}")
        self._rhythm.wait(CHANGE_EVERY_S)

    def read(self, client: Client) -> None:
        """Read the whole listing: from its copy, and at once."""
        sent = time.monotonic()
        answer = client.get(f"/v4/{LISTING}")
        received = time.monotonic()
        status = answer.headers.get("Cache-Status", "").partition("; ttl")[0]
        self.statuses[f"{answer.status_code} {status}"] += 1
        if (answer.status_code, status) != (200, "storage-api; hit"):
            return self.model.surprise(f"a read was no hit: {answer.status_code} {answer.headers}")
        if "Operation-Location" in answer.headers:
            self.refresh_ids.add(answer.headers["Operation-Location"].rpartition("/")[2])
        by_name = {record["name"]: self.model.same(record) for record in answer.json()}
        self.model.answers.append(Answer(f"GET {status}", sent, received, LISTING, by_name))
        self._rhythm.wait(READ_EVERY_S)
        return None


def _ended(http: Client, job_id: str) -> dict[str, object]:
    """The job when it has ended, however long its listing takes."""
    until = time.monotonic() + 3 * LISTING_S + 60
    while time.monotonic() < until:
        job: dict[str, object] = http.get(f"/v4/jobs/{job_id}", headers={"Prefer": "wait=20"}).json()
        if job["done"]:
            return job
    raise AssertionError(f"job {job_id} does not end")


@pytest.mark.slow
@pytest.mark.timeout(8 * LISTING_S + LOOK_S + 120)
def test_reads_are_hits_and_consistent_while_refreshes_commit(
    stack: OwnStack, capsys: pytest.CaptureFixture[str]
) -> None:
    http, traffic = stack.client(), Traffic(stack)
    began = time.monotonic()
    first = http.get(f"/v4/{LISTING}", headers={"Prefer": "respond-async"}).json()["id"]
    assert _ended(http, first)["state"] == "succeeded"
    traffic.model.begin(LISTING, http.get(f"/v4/{LISTING}").json())
    workload = Workload(traffic.model)
    workload.add(traffic.change)
    for client in [stack.client() for _ in range(READERS)]:
        workload.add(lambda client=client: traffic.read(client))  # type: ignore[misc]
    refreshes = [_refresh(http) for _ in range(REFRESHES)]
    workload.wait(max(4 * CHANGE_EVERY_S, LOOK_S - (time.monotonic() - began)))
    workload.end()
    for job_id in traffic.refresh_ids:
        _ended(http, job_id)
    wrong = traffic.model.disagreements()
    with capsys.disabled():
        print(f"\n{traffic.changes} changes, {dict(traffic.statuses)}, {len(wrong)} wrong, {len(refreshes)} refreshes")  # noqa: T201
    assert not wrong, f"{len(wrong)} are wrong; the first of them:\n" + "\n".join(wrong[:5])
    listed = http.get("/v4/jobs?operation=list_volumes&limit=1000").json()
    assert {job["id"] for job in listed} == {first, *refreshes, *traffic.refresh_ids}, "the filer was asked besides"
    # Each of them saw changes while it ran: that is what this is about.
    assert traffic.changes > (REFRESHES * LISTING_S) / (CHANGE_EVERY_S + 2)


def _refresh(http: Client) -> str:
    """Have the filer listed, and wait until that is done."""
    answer = http.get(f"/v4/{LISTING}", headers={"Cache-Control": "no-cache", "Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    job_id = str(answer.json()["id"])
    assert _ended(http, job_id)["state"] == "succeeded"
    return job_id
