"""What the Lua scripts return: one enumeration for the result codes of each, and named values."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

#: (id, queue, operation) of jobs whose Celery messages are to be published.
MessageParts = Sequence[Sequence[bytes]]


class SubmitOutcome(StrEnum):
    """What became of a request for a job."""

    NEW = "NEW"
    #: The same request with the same Idempotency-Key was accepted before.
    REPLAYED = "REPLAYED"
    #: Another request with the same Idempotency-Key was accepted before.
    REUSED = "REUSED"
    #: The same read is in flight already, and the request joined it.
    COALESCED = "COALESCED"
    #: The listing has been read meanwhile: look at the cache again.
    CHANGED = "CHANGED"
    #: The queue is too long.
    FULL = "FULL"
    #: The requester has too many jobs in this queue (clients that have not signed in count as one requester).
    SHARE_FULL = "SHARE_FULL"
    #: Too many reads of this requester, or of all clients that have not signed in, asked the storage system lately.
    READS_LIMITED = "READS_LIMITED"
    #: The same request was accepted before, and nobody has been answered with its outcome yet.
    REPEATED = "REPEATED"
    #: The same request was accepted before, and seems to be held open now.
    HELD = "HELD"
    #: Whether the same request still counts can be told only once a path of another job is resolved.
    UNSETTLED = "UNSETTLED"

    @property
    def is_refused(self) -> bool:
        """Was no job accepted, because a limit is reached?"""
        return self in (SubmitOutcome.FULL, SubmitOutcome.SHARE_FULL, SubmitOutcome.READS_LIMITED)


class ClaimResult(StrEnum):
    """Why a job was claimed or not."""

    CLAIMED = "CLAIMED"
    #: There is no record of it.
    GONE = "GONE"
    #: Another worker has it, or it has ended.
    TAKEN = "TAKEN"
    CANCELLED = "CANCELLED"
    #: It was put off, and its time has not come.
    LATER = "LATER"
    #: An earlier job holds one of its ordering keys.
    BLOCKED = "BLOCKED"
    #: This version does not know its operation.
    UNKNOWN = "UNKNOWN"


class LeaseResult(StrEnum):
    """Whether the worker that holds a job may go on."""

    GO = "GO"
    DONE = "DONE"
    #: Cancellation was requested.
    CANCEL = "CANCEL"
    #: Another worker holds the job by now; nothing was changed.
    LOST = "LOST"
    #: An earlier job holds an ordering key that was added.
    BLOCKED = "BLOCKED"


class CancelResult(StrEnum):
    """What became of a request to cancel."""

    CANCELLED = "CANCELLED"
    CANCELLING = "CANCELLING"
    #: Other clients wait for the same read.
    SHARED = "SHARED"
    TOO_LATE = "TOO_LATE"
    GONE = "GONE"


class ForceResult(StrEnum):
    """What became of an operator's decision about an in-doubt change."""

    DONE = "DONE"
    #: The job is not being reconciled.
    NOT_IN_DOUBT = "NOT_IN_DOUBT"
    GONE = "GONE"


class ClaimTerms(NamedTuple):
    """On what terms a worker claims whichever job comes next."""

    token: str
    #: How many waiting jobs are scanned for a runnable one.
    scan: int
    lease_ms: int
    read_timeout_ms: int
    change_timeout_ms: int
    #: Also one whose message is on its way to some worker?
    also_dispatched: bool = False
    #: For how long the slot waits where there is none.
    wait_ms: int = 0

    @property
    def token_and_times(self) -> tuple[str, int, int, int]:
        """As the scripts take them."""
        return self.token, self.lease_ms, self.read_timeout_ms, self.change_timeout_ms


class RecoveredJobs(NamedTuple):
    """What a sweep over the unfinished jobs of a subsystem found."""

    messages: MessageParts
    to_reconcile: list[str]
    failed: list[str]
