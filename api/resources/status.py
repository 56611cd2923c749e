"""What pages show of the service as a whole: queues, workers, storage systems, listings and recent failures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, redirect

from api.auth import Principal
from api.jobs.access import is_requester
from api.monitoring import service_status as overview
from api.services import Services
from worker.jobs.status import JobStatus

blp = Blueprint("status", __name__)

_MOST_FAILURES = 20
#: A job that has waited longer (seconds) is worth a word at the top.
_LONG_WAIT_S = 300
_SECONDS = {"day": 86400, "h": 3600, "min": 60, "s": 1}


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed job as the one who looks may see it: of others' jobs, only what kind and why."""

    ago: str
    operation: str
    subsystem: str
    code: str
    job_id: str = ""
    target: str = ""
    detail: str = ""
    requester: str = ""

    @classmethod
    def seen_by(cls, who: Principal, job_status: JobStatus) -> Failure:
        """What ``who`` may see of a job."""
        job = job_status.job
        code = job.failure.code if job.failure else ""
        ago = duration((job_status.now_ms - (job.finished_ms or job_status.now_ms)) / 1000)
        facts = (ago, job.operation.name, job.subsystem, code)
        if not who.signed_in or not (is_requester(who, job) or job.roles <= who.roles):
            return cls(*facts)
        return cls(*facts, job.id, job.target, job.failure.detail if job.failure else "", job.requester)


@blp.get("/status")
def page() -> Response:
    """The former address of the overview."""
    response = redirect("/console/", 302)
    assert isinstance(response, Response)  # noqa: S101 - Flask's own response class
    return response


def status_values(services: Services, who: Principal) -> dict[str, Any]:
    """What the pages about the service show to ``who``; raises what redis-py raises."""
    queues = overview.queues(services)
    workers = sorted({worker for queue in queues for worker in queue.workers})
    backends = overview.backends(services, set(workers))
    webhooks = overview.webhooks(services)
    return {
        "troubles": [*_redis_troubles(services), *_troubles(queues, backends), *_webhook_troubles(webhooks)],
        "queues": queues,
        # Names of machines are nobody's business who has not signed in.
        "workers": {worker: _served(worker, queues) for worker in workers} if who.signed_in else {},
        "draining": overview.draining(services) if who.signed_in else [],
        "filers": backends,
        "listings": overview.listings(services),
        "webhooks": webhooks if who.signed_in else [],
        "failures": [
            Failure.seen_by(who, job_status) for job_status in overview.recent_failures(services, _MOST_FAILURES)
        ],
    }


def _served(worker: str, queues: Sequence[overview.QueueStatus]) -> list[str]:
    return [queue.name for queue in queues if worker in queue.workers]


def _redis_troubles(services: Services) -> Iterator[str]:
    problem = services.write_probe.state().problem
    if problem:
        yield f"No job can be recorded. What Redis said: {problem}."


def _webhook_troubles(receivers: Sequence[overview.WebhookStatus]) -> Iterator[str]:
    failing = [receiver for receiver in receivers if receiver.failing_s > _LONG_WAIT_S]
    if failing:
        longest = duration(max(receiver.failing_s for receiver in failing))
        who = "1 receiver" if len(failing) == 1 else f"{len(failing)} receivers"
        since = "for" if len(failing) == 1 else "the longest for"
        yield f"{who} of webhooks cannot be reached, {since} {longest}."


def _troubles(queues: Sequence[overview.QueueStatus], backends: Sequence[overview.BackendStatus]) -> Iterator[str]:
    for filer in backends:
        if filer.status == "unavailable":
            yield f"The storage system {filer.subsystem} cannot be used."
        elif filer.breakers_open:
            yield f"Some workers could not reach {filer.subsystem} lately, and leave it alone for a moment."
    for queue in queues:
        if not queue.workers:
            yield f"No worker serves {queue.name}: its jobs wait."
        elif queue.oldest_s > _LONG_WAIT_S:
            yield f"A job has waited in {queue.name} for {duration(queue.oldest_s)}."


def duration(seconds: float) -> str:
    """A length of time in its largest two units, as in ``2 h 5 min``."""
    remaining, words = round(seconds), []
    for unit, length in _SECONDS.items():
        count, remaining = divmod(remaining, length)
        if count:
            words.append(f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}")
    return " ".join(words[:2]) or "0 s"
