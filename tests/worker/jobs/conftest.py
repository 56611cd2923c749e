"""Jobs of every kind in the index."""

from __future__ import annotations

import random

import pytest

from tests.worker.harness import PREFIX, Harness
from tests.worker.jobs.index_searches import accept, end_some
from worker.jobs.record import Job, State

_OPERATIONS = ("create_snapshot", "delete_policy", "update_volume", "get_volume")
_ENDS = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
#: Jobs lie on both sides of the border between two chunks.
_FIRST_SEQ = 8192 - 45
#: Longer than any test takes.
_KEEP_MS = 600_000
#: Numbers that no job has.
_GAP = 20


@pytest.fixture
def jobs(harness: Harness) -> list[Job]:
    """Fifty jobs in every state, the newest first."""
    chosen = random.Random(7)
    harness.client.set(f"{PREFIX}seq", _FIRST_SEQ)
    ids = [accept(harness, chosen, number) for number in range(15)]
    harness.client.incrby(f"{PREFIX}seq", _GAP)
    ids += [accept(harness, chosen, number) for number in range(15, 50)]
    end_some(harness, chosen, ids)
    assert harness.job(ids[-1]).seq == _FIRST_SEQ + _GAP + 50
    return [harness.job(job_id) for job_id in reversed(ids)]
