"""What became of the members of a batch, and events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from storage_api_client.models.base import Model, nested
from storage_api_client.models.jobs import JobRecord
from storage_api_client.models.problems import Problem


@dataclass(frozen=True)
class MemberResult(Model):
    """What became of one member of a batch.

    Attributes:
        job: the id of its job.
        status: what the call by itself would have answered, as 201.
        value: the body of that answer.
        problem: why it failed.
    """

    job: str = ""
    status: int = 0
    location: str | None = None
    value: Any = None
    problem: Problem | None = nested(Problem)

    @property
    def succeeded(self) -> bool:
        """Did it succeed?"""
        return self.problem is None


@dataclass(frozen=True)
class Event:
    """A change of a job.

    Attributes:
        id: where to go on after it.
        kind: "job", or "gap" where events were lost because they are kept no longer.
        job: the job as it was then, without its result; None for a gap.
    """

    id: str
    kind: str
    job: JobRecord | None
