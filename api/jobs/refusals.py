"""Problems for jobs that were not accepted: which limit is reached, and when to ask again."""

from __future__ import annotations

import time

from api.http.problems import Problem
from api.services import current_services
from worker.jobs.service import NewJob
from worker.store.results import SubmitOutcome

_MINUTE_S = 60
_MEMORY_RETRY_AFTER_S = 30
#: Anonymous clients are refused earlier, so that memory is left for signed-in users.
_STRANGERS_MEMORY_PART = 0.75


def refusal(new: NewJob, outcome: SubmitOutcome) -> Problem:
    """Return the problem for a job that `Jobs.accept` refused (see `SubmitOutcome.is_refused`)."""
    if outcome is SubmitOutcome.READS_LIMITED:
        return _too_many_reads(new)
    after_s = current_services().jobs.queue_retry_after_s(new.subsystem, new.operation)
    detail, limit = _queue_limit(new, outcome)
    return Problem("queue-full", f"{detail} Nothing was accepted.", headers={"Retry-After": str(after_s)}, limit=limit)


def memory_refusal(*, signed_in: bool) -> Problem | None:
    """Return the problem for reads that need a job while Redis has little memory left; None if there is enough."""
    services = current_services()
    limit = services.settings.reads_memory_percent * (1 if signed_in else _STRANGERS_MEMORY_PART)
    if services.memory.used_percent() < limit:
        return None
    return Problem(
        "queue-unavailable",
        "Redis has little memory left, which is kept for changes: reads are answered from copies only. Ask again "
        "later, or take an older copy with Cache-Control: max-stale.",
        headers={"Retry-After": str(_MEMORY_RETRY_AFTER_S)},
        limit="SAPI_READS_MEMORY_PERCENT",
    )


def _queue_limit(new: NewJob, outcome: SubmitOutcome) -> tuple[str, str]:
    """Return a description of the limit that is reached, and its setting."""
    settings, queue = current_services().settings, new.operation.queue(new.subsystem)
    if outcome is SubmitOutcome.FULL:
        detail = f"Too many jobs wait in {queue} already: its limit of {settings.queue_limit} is reached."
        return detail, "SAPI_QUEUE_LIMIT"
    if new.requester:
        detail = f"Too many jobs of yours wait in {queue}: at most {settings.user_queue_limit} of one user may."
        return detail, "SAPI_USER_QUEUE_SHARE"
    most = settings.strangers_queue_limit
    detail = f"Too many jobs of clients that have not signed in wait in {queue}: at most {most} may. Sign in, or wait."
    return detail, "SAPI_STRANGERS_QUEUE_SHARE"


def _too_many_reads(new: NewJob) -> Problem:
    settings = current_services().settings
    if new.requester:
        limit, whose = "SAPI_USER_READ_RATE", f"You may ask for {settings.user_read_rate} reads in a minute"
    else:
        limit = "SAPI_ADDRESS_READ_RATE"
        rates = f"{settings.address_read_rate} reads in a minute from one address, and {settings.strangers_read_rate}"
        whose = f"Clients that have not signed in may ask for {rates} from all,"
    return Problem(
        "rate-limited",
        f"{whose} that cannot be answered from a copy. Ask again later, or take a copy: leave out no-cache.",
        headers={"Retry-After": str(int(_MINUTE_S - time.time() % _MINUTE_S) + 1)},
        limit=limit,
    )
