"""What the Lua scripts return: one enumeration for the result codes of each, and named values."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

#: (id, queue, operation) of jobs whose Celery messages are to be published.
MessageParts = Sequence[Sequence[bytes]]


class SubmitOutcome(StrEnum):
    """The result of a request for a job."""

    NEW = "NEW"
    #: The same request with the same Idempotency-Key was accepted before.
    REPLAYED = "REPLAYED"
    #: Another request with the same Idempotency-Key was accepted before.
    REUSED = "REUSED"
    #: The same read is in flight already, and the request joined it.
    COALESCED = "COALESCED"
    #: The listing has been read meanwhile: the cache must be checked again.
    CHANGED = "CHANGED"
    #: The queue is too long.
    FULL = "FULL"
    #: The requester has too many jobs in this queue (clients that have not signed in count as one requester).
    SHARE_FULL = "SHARE_FULL"
    #: This requester, or all anonymous clients together, have made too many reads of the storage system lately.
    READS_LIMITED = "READS_LIMITED"
    #: The same request was accepted before, and no client has received its outcome yet.
    REPEATED = "REPEATED"
    #: The same request was accepted before, and seems to be held open now.
    HELD = "HELD"
    #: Whether the earlier request is still valid is known only once a path of another job is resolved.
    UNSETTLED = "UNSETTLED"

    @property
    def is_refused(self) -> bool:
        """Was no job accepted, because a limit is reached?"""
        return self in (SubmitOutcome.FULL, SubmitOutcome.SHARE_FULL, SubmitOutcome.READS_LIMITED)


class ClaimResult(StrEnum):
    """The result of a claim."""

    CLAIMED = "CLAIMED"
    #: There is no record of it.
    GONE = "GONE"
    #: Another worker has it, or it has ended.
    TAKEN = "TAKEN"
    CANCELLED = "CANCELLED"
    #: It is delayed, and not due yet.
    LATER = "LATER"
    #: An earlier job holds one of its ordering keys.
    BLOCKED = "BLOCKED"
    #: This version does not know its operation.
    UNKNOWN = "UNKNOWN"


class LeaseResult(StrEnum):
    """Whether the worker that holds a job may continue."""

    GO = "GO"
    DONE = "DONE"
    #: Cancellation was requested.
    CANCEL = "CANCEL"
    #: Another worker holds the job; nothing was changed.
    LOST = "LOST"
    #: An earlier job holds an ordering key that was added.
    BLOCKED = "BLOCKED"


class CancelResult(StrEnum):
    """The result of a request to cancel."""

    CANCELLED = "CANCELLED"
    CANCELLING = "CANCELLING"
    #: Other clients wait for the same read.
    SHARED = "SHARED"
    TOO_LATE = "TOO_LATE"
    GONE = "GONE"


class ForceResult(StrEnum):
    """The result of an operator's decision about an in-doubt change."""

    DONE = "DONE"
    #: The job is not being reconciled, or its record is gone.
    NOT_IN_DOUBT = "NOT_IN_DOUBT"


class ClaimTerms(NamedTuple):
    """The terms on which a worker claims the next job of a queue."""

    token: str
    #: How many waiting jobs are scanned for a runnable one.
    scan: int
    lease_ms: int
    read_timeout_ms: int
    change_timeout_ms: int
    #: Also one whose message is in transit to some worker?
    also_dispatched: bool = False
    #: How long the slot waits when there is none (ms).
    wait_ms: int = 0

    @property
    def token_and_times(self) -> tuple[str, int, int, int]:
        """The arguments for the scripts."""
        return self.token, self.lease_ms, self.read_timeout_ms, self.change_timeout_ms


class RecoveredJobs(NamedTuple):
    """The result of a sweep over the unfinished jobs of a subsystem."""

    messages: MessageParts
    to_reconcile: list[str]
    failed: list[str]
