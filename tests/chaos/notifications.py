"""Compares the notifications that listeners got with the jobs: each end once, none invented, none to the wrong ones."""

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
    "missing": "ends of which somebody was not notified who should have been",
    "invented": "notifications of what did not happen",
    "disclosed": "notifications to somebody who may not see the job, or did not ask for it",
    "order": "notifications of one job in another order, or after its end",
    "twice": "events that came twice over a stream, and gaps",
    "renamed": "webhooks of one job with several ids",
}


def await_notifications(
    all_jobs: Callable[[], Jobs], streams: Iterable[Listener], hooks: Callable[[], list[Hook]], limit_s: float
) -> tuple[Jobs, float]:
    """Wait until every listener was notified of the end of every job, at most ``limit_s`` seconds.

    Returns the jobs, and how long that took (seconds).
    """
    began, jobs = time.monotonic(), all_jobs()
    while time.monotonic() - began < limit_s:
        notified = {hook.body["data"]["id"] for hook in hooks()}
        has_ended = all(job["done"] for job in jobs.values()) and jobs.keys() <= notified
        if has_ended and not any(_missing(jobs, stream) for stream in streams):
            break
        time.sleep(3)
        jobs = all_jobs()
    return jobs, time.monotonic() - began


def changes(jobs: Iterable[Mapping[str, Any]]) -> Jobs:
    """Return the changes by id; records of reads expire within minutes."""
    return {str(job["id"]): job for job in jobs if job["operation"] not in READS}


def judge_stream(jobs: Jobs, stream: Listener) -> dict[str, list[str]]:
    """What is wrong with one stream."""
    bad: dict[str, list[str]] = {name: [] for name in BAD}
    bad["missing"] = _missing(jobs, stream)
    for job_id, document in list(stream.documents.items()):
        where = f"{stream.name_}: {job_id} {stream.states[job_id]}"
        if not stream.expects(document):
            bad["disclosed"].append(where)
        if document["operation"] not in READS and (
            job_id not in jobs or (document["done"] and document["state"] != jobs[job_id]["state"])
        ):
            bad["invented"].append(where)
        ranks = [_RANK[state] for state in stream.states[job_id]]
        # A job whose worker was lost returns to its queue.
        if 3 in ranks[:-1]:
            bad["order"].append(where)
    double = len(stream.ids) - len(set(stream.ids))
    if double or stream.gaps:
        bad["twice"].append(f"{stream.name_}: {double} events, {stream.gaps} gaps")
    return bad


def judge_hooks(jobs: Jobs, hooks: Iterable[Hook]) -> dict[str, list[str]]:
    """What is wrong with the webhooks, which are sent at the end of all users' jobs."""
    bad: dict[str, list[str]] = {name: [] for name in BAD}
    ids: dict[str, set[str]] = defaultdict(set)
    for hook in hooks:
        job = hook.body["data"]
        ids[job["id"]].add(hook.id)
        record = jobs.get(job["id"])
        wrong = record is None or hook.body["type"] != f"job.{record['state']}" or job["state"] != record["state"]
        if job["operation"] not in READS and wrong:
            bad["invented"].append(f"webhook {job['id']} {hook.body['type']}")
    bad["missing"] = [f"webhook {job_id}" for job_id in jobs if job_id not in ids]
    bad["renamed"] = [f"{job_id}: {sorted(hook_ids)}" for job_id, hook_ids in ids.items() if len(hook_ids) > 1]
    return bad


def _missing(jobs: Jobs, stream: Listener) -> list[str]:
    return [
        f"{stream.name_}: {job_id} {job['state']}, last notification {stream.states.get(job_id)}"
        for job_id, job in jobs.items()
        if stream.expects(job) and (stream.states.get(job_id) or [""])[-1] != job["state"]
    ]
