"""How long a request is held open that has waited for its permit before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from flask import Flask

from api.jobs.long_polling import wait_for_answer


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
