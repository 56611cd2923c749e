"""What it costs to find jobs: a page beside few and beside a million finished jobs."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from deploy.dev.embedded_redis import EmbeddedRedis, find_server
from tests.benchmarks.measures import Row
from worker.catalog.operations import OPERATIONS
from worker.config.settings import Settings, load
from worker.jobs.ids import JobIds
from worker.jobs.query import JobFilter, JobScope, key_of
from worker.jobs.record import State
from worker.jobs.service import Jobs
from worker.store.script_runner import script_source
from worker.store.scripts import JobScripts

_PREFIX = "sapi:"
_FEW, _MANY = 1_000, 1_000_000
_STEP = 200
_TURNS, _PAGES = 7, 20
_CHANGES = [name for name, operation in OPERATIONS.items() if operation.is_change]
#: Makes records of finished jobs as the service's own scripts would leave them, without running the jobs.
_FILL = """
for _, f in ipairs(cjson.decode(ARGV[1])) do
  local seq = tonumber(redis.call('INCR', P .. 'seq'))
  set_all(f.id, f, 'seq', text(seq), 'created', text(now), 'updated', text(now), 'finished', text(now),
    'version', '3', 'attempt', '1', 'kind', 'change', 'target', '/', 'request_id', 'r', 'request', '{}',
    'arguments', '{}', 'keys', '[]')
  index_job(f.id, f, seq, 'queued')
  index_state(f.id, 'queued', f.state)
end
"""


def find_jobs(folder: Path) -> Iterator[Row]:
    """A page of 100 by each filter and some pairs, beside a thousand and beside a million finished jobs, in turns."""
    with _store(folder / "few", _FEW) as few, _store(folder / "many", _MANY) as many:
        for name, job_filter in _queries().items():
            # Only pages of one length can be compared.
            count = len(_jobs(few).find(job_filter, JobScope(everybody=True), 100)[0])
            few_ms, many_ms = _page_ms(few, many, job_filter, count or 100)
            ratio = f"{many_ms / few_ms:.2f}"
            yield Row(f"page of {count} jobs: {name}", f"{many_ms:.2f} ms CPU", f"{few_ms:.2f} ms CPU", ratio, "≤ 1.5")
        memory: Any = many.info("memory")
        yield Row(f"Redis for {_MANY:,} jobs", f"{memory['used_memory'] / 1e6:,.0f} MB")


@contextmanager
def _store(folder: Path, count: int) -> Iterator[redis.Redis]:
    """A Redis of its own with so many finished jobs."""
    folder.mkdir(parents=True)
    server = EmbeddedRedis.in_folder(find_server(), folder)
    process = server.start()
    try:
        server.await_ready(timeout_s=20)
        client = redis.Redis.from_url(server.url, socket_timeout=60)
        client.config_set("appendonly", "no")
        _fill(client, count)
        yield client
    finally:
        process.terminate()
        process.wait(timeout=30)


def _jobs(client: redis.Redis) -> Jobs:
    publisher: Any = None
    return Jobs(client, JobScripts(client, _PREFIX), JobIds(b"secret"), publisher, load(Settings, SAPI_DEBUG=True))


def _queries() -> dict[str, JobFilter]:
    """Some find many, some few, and some none, although each of their parts is common."""
    return {
        "all": JobFilter(),
        "state": JobFilter(states=(State.FAILED,)),
        "operation": JobFilter(operations=("create_snapshot",)),
        "subsystem": JobFilter(subsystem="filer3"),
        "volume": JobFilter(volume="vol7"),
        "requester": JobFilter(requested_by="user5"),
        "every change": JobFilter(operations=tuple(_CHANGES)),
        "every change of one that failed": JobFilter(
            requested_by="user5", operations=tuple(_CHANGES), states=(State.FAILED,)
        ),
        "operation and state": JobFilter(operations=("create_volume",), states=(State.FAILED,)),
        "operation and state that never meet": JobFilter(operations=(_CHANGES[0],), states=(State.CANCELLED,)),
        "subsystem and state": JobFilter(subsystem="filer1", states=(State.FAILED, State.CANCELLED)),
        "operation and subsystem": JobFilter(operations=("create_lock",), subsystem="filer0"),
        "operation and subsystem that never meet": JobFilter(operations=(_CHANGES[0],), subsystem="filer0"),
        "requester and state": JobFilter(requested_by="user5", states=(State.SUCCEEDED,)),
        "requester and operation that never meet": JobFilter(requested_by="user0", operations=(_CHANGES[0],)),
        "requester and subsystem that never meet": JobFilter(requested_by="user0", subsystem="filer0"),
        "volume and state": JobFilter(volume="vol7", states=(State.QUEUED,)),
        "accepted lately": JobFilter(created_after_ms=1),
        "accepted long ago": JobFilter(created_before_ms=1_000_000),
        "finished lately": JobFilter(finished_after_ms=1),
        "finished and state": JobFilter(finished_after_ms=1, states=(State.FAILED,)),
        "finished after now": JobFilter(finished_after_ms=10**13 - 1),
        "nothing running": JobFilter(states=(State.RUNNING, State.QUEUED)),
        "of nobody": JobFilter(requested_by="nobody", states=(State.FAILED,)),
    }


def _page_ms(few: redis.Redis, many: redis.Redis, job_filter: JobFilter, limit: int) -> tuple[float, float]:
    """The CPU of a page in each, of the client and of Redis, as the median of some turns of several pages.

    Wall-clock time would depend on what else the machine does.
    """
    times: tuple[list[float], list[float]] = ([], [])
    stores = [(client, _jobs(client)) for client in (few, many)]
    for _ in range(_TURNS):
        for (client, jobs), page_times in zip(stores, times, strict=True):
            before_s = _cpu_s(client)
            for _ in range(_PAGES):
                jobs.find(job_filter, JobScope(everybody=True), limit)
            page_times.append((_cpu_s(client) - before_s) * 1000 / _PAGES)
    return statistics.median(times[0]), statistics.median(times[1])


def _cpu_s(client: redis.Redis) -> float:
    used: Any = client.info("cpu")
    return time.process_time() + float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def _fill(client: redis.Redis, count: int) -> None:
    script = client.register_script(script_source("finish").partition("-- End a job, and update")[0] + _FILL)
    ids = JobIds(b"secret")
    for start in range(0, count, _STEP):
        records = [_record(ids.new(), number) for number in range(start, min(start + _STEP, count))]
        script(keys=[_PREFIX], args=[json.dumps(records)])


def _record(job_id: str, number: int) -> dict[str, str]:
    operation = _CHANGES[number % len(_CHANGES)]
    subsystem, user = f"filer{number % 4}", f"user{number // 3 % 10}"
    states = ["succeeded", "failed", "cancelled"]
    # Some properties never occur together, although each is frequent.
    if operation == _CHANGES[0]:
        states.remove("cancelled")
        subsystem, user = f"filer{1 + number % 3}", f"user{1 + number // 3 % 9}"
    if user == "user0":
        subsystem = f"filer{1 + number % 3}"
    return {
        "id": job_id, "operation": operation, "state": states[number // 7 % len(states)], "subsystem": subsystem,
        "queue": f"{subsystem}.write", "volume": f"vol{number % 5000}", "requester": user,
        "requester_key": key_of(user), "roles": OPERATIONS[operation].role.value,
    }  # fmt: skip
