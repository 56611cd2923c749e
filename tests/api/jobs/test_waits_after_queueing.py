"""How long a request is held open: that has waited for its permit before, and while the process shuts down."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest
from flask import Flask

from api.jobs.long_polling import wait_for_answer
from tests.api.front_end import FrontEnd, accepted
from worker.jobs.notifications import JobNotifications


class Replies:
    """A reply queue that notes how long it is waited for."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []

    def wait(self, _job_id: str, seconds: float) -> bytes:
        self.waits_s.append(seconds)
        return b"{}"


@pytest.mark.parametrize(
    ("waited_s", "seconds", "left_s"),
    [(0, 25, [25]), (10, 25, [15]), (10, 2, [2]), (24, 2, [1]), (30, 25, []), (10, 55, [45])],
)
def test_the_permit_and_the_job_together_take_no_longer_than_a_wait(
    waited_s: float, seconds: float, left_s: list[float]
):
    replies, job = Replies(), SimpleNamespace(id="one", references=())
    services: Any = SimpleNamespace(
        config=SimpleNamespace(max_wait=25), answers=replies, jobs=SimpleNamespace(get_quickly=lambda _id: None)
    )
    with Flask("test").test_request_context("/", environ_overrides={"sapi.waited_for_permit_s": waited_s}):
        wait_for_answer(services, cast("Any", SimpleNamespace(job=job)), seconds)
    assert replies.waits_s == left_s


def test_each_wait_is_counted_and_ends_when_the_process_shuts_down(
    redis_url: str, redis_client: Any, monkeypatch: pytest.MonkeyPatch
):
    front_end = FrontEnd(redis_url)
    client, stopping = front_end.client(), front_end.services.stopping
    watches, waits_s = [], list[float]()

    def wait_and_stop(seconds: float) -> None:
        waits_s.append(seconds)
        stopping.set()

    def watch(_: object, _job_id: str, *, end: bool, has_slot: bool) -> Any:
        watches.append((end, has_slot))
        return nullcontext(SimpleNamespace(wait=wait_and_stop))

    monkeypatch.setattr(JobNotifications, "watch", watch)
    url, key = "/v4/filer/volumes/a", {"Idempotency-Key": "k"}
    path = accepted(client.delete(url, headers=key))
    wait = {"Prefer": "wait=1"}
    tag = {"If-None-Match": client.get(path).headers["ETag"]}
    batch = {"requests": [{"method": "DELETE", "path": url}]}
    for answer in (
        lambda: client.delete(url, headers=key | wait), lambda: client.post("/v4/batches", json=batch, headers=wait),
        lambda: client.get(path, headers=tag | wait),
    ):  # fmt: skip
        stopping.clear()
        assert answer().status_code in (202, 304)
    assert (watches, len(waits_s)) == ([(True, False), (True, False), (False, False)], 3)
    assert all(0 < seconds <= 1 for seconds in waits_s)
    # When the time is over, nothing is waited for.
    stopping.clear()
    monkeypatch.setattr("api.jobs.long_polling._left_s", lambda *_: 0.0)
    assert (client.get(path, headers=tag | wait).status_code, len(waits_s)) == (304, 3)
