"""What listeners were told, beside what became of each job: every end once, none invented, none to the wrong ones."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.chaos.judge import READS
from tests.chaos.listeners import Listener
from tests.worker.webhooks.receiver import Hook

_ENDS = ("succeeded", "failed", "cancelled")
_RANK = {"queued": 0, "running": 1, "cancelling": 2, **dict.fromkeys(_ENDS, 3)}
Jobs = Mapping[str, Mapping[str, Any]]

#: What must not happen.
BAD = {
    "untold": "ended, and not told to somebody who was to hear of it",
    "invented": "told, and not so",
    "disclosed": "told to somebody who may not see it, or did not ask for it",
    "order": "told of one job in another order, or after its end",
    "twice": "events that came twice over a stream, and gaps",
    "renamed": "webhooks of one job with several ids",
}


def await_told(
    all_jobs: Callable[[], Jobs], streams: Iterable[Listener], hooks: Callable[[], list[Hook]], limit_s: float
) -> tuple[Jobs, float]:
    """Return once every job has ended and was told, or so many seconds later; the jobs, and how long that took."""
    began, jobs = time.monotonic(), all_jobs()
    while time.monotonic() - began < limit_s:
        told = {hook.body["data"]["id"] for hook in hooks()}
        has_ended = all(job["done"] for job in jobs.values()) and jobs.keys() <= told
        if has_ended and not any(_untold(jobs, stream) for stream in streams):
            break
        time.sleep(3)
        jobs = all_jobs()
    return jobs, time.monotonic() - began


def changes(jobs: Iterable[Mapping[str, Any]]) -> Jobs:
    """Jobs that are kept for days, by id: reads are forgotten in minutes."""
    return {str(job["id"]): job for job in jobs if job["operation"] not in READS}


def judge_stream(jobs: Jobs, stream: Listener) -> dict[str, list[str]]:
    """What is wrong with one stream."""
    bad: dict[str, list[str]] = {name: [] for name in BAD}
    bad["untold"] = _untold(jobs, stream)
    for job_id, document in list(stream.documents.items()):
        where = f"{stream.name_}: {job_id} {stream.states[job_id]}"
        if not stream.wanted(document):
            bad["disclosed"].append(where)
        if document["operation"] not in READS and (
            job_id not in jobs or (document["done"] and document["state"] != jobs[job_id]["state"])
        ):
            bad["invented"].append(where)
        ranks = [_RANK[state] for state in stream.states[job_id]]
        # A worker that was lost gives the job back: it waits again.
        if 3 in ranks[:-1]:
            bad["order"].append(where)
    double = len(stream.ids) - len(set(stream.ids))
    if double or stream.gaps:
        bad["twice"].append(f"{stream.name_}: {double} events, {stream.gaps} gaps")
    return bad


def judge_hooks(jobs: Jobs, hooks: Iterable[Hook]) -> dict[str, list[str]]:
    """What is wrong with the webhooks, which tell the ends of everybody's jobs."""
    bad: dict[str, list[str]] = {name: [] for name in BAD}
    ids: dict[str, set[str]] = defaultdict(set)
    for hook in hooks:
        job = hook.body["data"]
        ids[job["id"]].add(hook.id)
        known = jobs.get(job["id"])
        wrong = known is None or hook.body["type"] != f"job.{known['state']}" or job["state"] != known["state"]
        if job["operation"] not in READS and wrong:
            bad["invented"].append(f"webhook {job['id']} {hook.body['type']}")
    bad["untold"] = [f"webhook {job_id}" for job_id in jobs if job_id not in ids]
    bad["renamed"] = [f"{job_id}: {sorted(named)}" for job_id, named in ids.items() if len(named) > 1]
    return bad


def _untold(jobs: Jobs, stream: Listener) -> list[str]:
    return [
        f"{stream.name_}: {job_id} {job['state']}, told {stream.states.get(job_id)}"
        for job_id, job in jobs.items()
        if stream.wanted(job) and (stream.states.get(job_id) or [""])[-1] != job["state"]
    ]
