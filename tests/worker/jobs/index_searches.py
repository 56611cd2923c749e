"""Jobs in the index, and searches in it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from tests.worker.harness import Harness
from worker.jobs.query import MAX_SEQ, JobFilter, JobScope, index_query
from worker.jobs.record import State
from worker.store.results import SubmitOutcome

_OPERATIONS = ("create_snapshot", "delete_policy", "update_volume", "get_volume")
_ENDS = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
#: Longer than any test takes.
_KEEP_MS = 600_000


def accept(harness: Harness, chosen: random.Random, number: int) -> str:
    operation = chosen.choice(_OPERATIONS)
    arguments: dict[str, Any] = {"policy": f"p{number}"} if operation == "delete_policy" else {"volume": f"v{number}"}
    if operation == "create_snapshot":
        arguments["name"] = "s"
    new = harness.new(operation, **arguments)
    requester = chosen.choice(("ann", "bob", ""))
    new = replace(
        new,
        requester=requester,
        requester_id="id of bob" if requester == "bob" else "",
        subsystem=chosen.choice(("filer", "other")),
        volume=chosen.choice(("", "vol", "war")),
    )
    outcome, job_id, _ = harness.jobs.accept(new)
    assert outcome is SubmitOutcome.NEW
    return job_id


def end_some(harness: Harness, chosen: random.Random, ids: list[str]) -> None:
    for job_id in ids:
        what = chosen.randrange(4)
        if what == 0:
            continue
        if what == 1:
            harness.jobs.cancel(job_id, "ann")
            continue
        harness.scripts.claim(job_id, "token", 15_000, 600_000, 600_000)
        if what == 3:
            state = chosen.choice(_ENDS)
            harness.scripts.finish(job_id, "token", state, {"error_code": "no"}, [], _KEEP_MS, b"", 1000, 0)


def search(harness: Harness, job_filter: JobFilter, scope: JobScope, effort: int, limit: int = 100) -> list[str]:
    """The ids alone, without the records; there are fewer than ``limit``."""
    job_ids: list[str] = []
    below: int | None = MAX_SEQ
    while below is not None:
        query = index_query(job_filter, scope, seqs=(0, below), limit=limit - len(job_ids), effort=effort)
        ids, below = harness.scripts.list_jobs(query)
        job_ids += ids
    return job_ids
