"""What the methods of the package return: jobs that can be waited for, and what became of batches."""

from __future__ import annotations

from typing import Any

import pytest

from answering import parts
from flows import JOB, answer
from storage_api_client.blocking.job import Job
from storage_api_client.models import Lock, Snapshot
from storage_api_client.protocol.messages import Request

_MEMBERS = [{"job": "2", "status": 201}]


def answering() -> dict[str, Any]:
    """The parts of a client whose service has one job, and members of each batch."""
    driver, by_name = parts()
    usual = driver._answer

    def respond(request: Request) -> Any:
        if request.path == "/v4/jobs":
            return answer(200, [JOB])
        return answer(200, _MEMBERS) if request.path.endswith("/result") else usual(request)

    driver._answer = respond  # type: ignore[method-assign]
    return by_name


@pytest.mark.parametrize(
    "call",
    [
        lambda by_name: next(by_name["jobs"].list()),
        lambda by_name: by_name["jobs"].get("1"),
        lambda by_name: by_name["jobs"].cancel("1"),
        lambda by_name: by_name["jobs"].retry("1"),
        lambda by_name: by_name["jobs"].settle("1", "failed"),
        lambda by_name: by_name["client"].order({"requests": []}, wait=False),
        lambda by_name: by_name["volumes"].update("v", size_total=1, wait=False),
    ],
)
def test_a_job_can_be_waited_for(call: Any) -> None:
    job = call(answering())
    assert isinstance(job, Job)
    assert (job.id, job.ended().done, job.refresh().state) == ("1", True, "succeeded")


def test_a_job_returns_what_the_change_would_have_returned() -> None:
    volumes = answering()["volumes"]
    for job, kind in ((volumes.lock("v", "h", wait=False), Lock), (volumes.snapshot("v", "n", wait=False), Snapshot)):
        assert isinstance(job.wait(), kind)


@pytest.mark.parametrize("waits", [True, False])
def test_a_batch_has_its_job_and_the_results_of_its_members(waits: bool) -> None:
    with answering()["client"].batch(wait=waits) as batch:
        batch.lock("s", "v", "h")
    assert (batch.job.id, [result.job for result in batch.results]) == ("1", ["2"] if waits else [])
    # Waiting for it later makes no other one.
    job = batch.job
    assert ([result.job for result in batch.run()], batch.job) == (["2"], job)
    assert batch.job is job
