"""The scripts against the model; and scripts that are broken on purpose, each of which the model must detect."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis, ResponseError

from tests.worker.harness import PREFIX
from tests.worker.job_state_machine import JobStateMachine
from worker.store.script_runner import script_source
from worker.store.scripts import JobScripts

#: (script, its text, the text when it is broken, a seed with which that is detected soon)
MUTANTS = {
    "an end needs no fencing token": (
        "finish",
        "if f[1] ~= ARGV[2] or (",
        "if (",
        4,
    ),
    "a running job is given away again": (
        "claim",
        "if f[1] ~= 'queued' then",
        "if is_done(f[1]) then",
        1,
    ),
    "the order does not matter": (
        "claim",
        "if is_blocked(id) then return {'BLOCKED'} end",
        "",
        1,
    ),
    "the head of one ordering key is enough": (
        "job_functions",
        "if head and head ~= id then return true",
        "if head then return head ~= id",
        1,
    ),
    "the end leaves the job at the head of its ordering key": (
        "job_functions",
        "redis.call('ZREM', ordering_key(sub, key), id)",
        "",
        0,
    ),
    "a record of progress needs no fencing token": (
        "record_progress",
        "if f[1] ~= ARGV[2] or (",
        "if (",
        2,
    ),
    "a lease renewal needs no fencing token": (
        "renew_leases",
        "if f[1] ~= ARGV[i + 1] or (",
        "if (",
        2,
    ),
    "what was sent is done again": (
        "recover_jobs",
        "elseif f.step == '' then requeue_or_fail",
        "elseif true then requeue_or_fail",
        2,
    ),
    "recovery leaves the old fencing token": (
        "recover_jobs",
        "'token', token .. ':' .. id, 'lease'",
        "'lease'",
        2,
    ),
    "a cancelled job is sent all the same": (
        "record_progress",
        "and f[3] == '' then return",
        "and f[3] == 'x' then return",
        3,
    ),
    "what was sent can be cancelled": (
        "record_progress",
        "fields.backend_job, fields.cancellable = '', '0'",
        "fields.backend_job = ''",
        1,
    ),
    "a cancelled job goes back into its queue": (
        "requeue",
        "f[1] == ARGV[2] and f[2] == 'cancelling' then return 'CANCEL'",
        "f[2] == 'cancelling' then f[2] = 'running'",
        3,
    ),
    "an Idempotency-Key is ignored": (
        "submit_job",
        "if earlier[1] then",
        "if earlier[9] then",
        0,
    ),
    "a lost answer is no end": (
        "finish",
        "if f[3] == ARGV[2] then",
        "if false then",
        8,
    ),
    "jobs behind a barrier are not published": (
        "job_functions",
        "  lift_barrier(id, sub, messages)\n  publish_heads(sub, keys, messages)",
        "  lift_barrier(id, sub, messages)",
        2,
    ),
}


def _run(client: Redis, scripts: Any, quick: settings, begin_with: int | None = None) -> None:
    def machine() -> JobStateMachine:
        return JobStateMachine(client, scripts)

    if begin_with is not None:
        seed(begin_with)(machine)
    run_state_machine_as_test(machine, settings=quick)  # type: ignore[arg-type]


def _search(client: Redis, scripts: Any, soon: int, options: dict[str, Any]) -> None:
    _run(client, scripts, _quick(max_examples=60, **options), soon)
    # Another release of Hypothesis may draw otherwise from the seed.
    _run(client, scripts, _quick(max_examples=2000, derandomize=True, **options))


def _quick(**more: Any) -> settings:
    return settings(deadline=None, suppress_health_check=list(HealthCheck), database=None, **more)


def test_the_scripts_match_the_model(redis_client: Redis):
    _run(redis_client, JobScripts(redis_client, PREFIX), _quick(max_examples=settings().max_examples * 2))


@pytest.mark.parametrize("what", MUTANTS)
def test_the_model_detects_a_broken_script(redis_client: Redis, what: str):
    name, good, bad, soon = MUTANTS[what]
    assert script_source("claim" if name == "job_functions" else name).count(good) == 1
    scripts = JobScripts(redis_client, PREFIX)
    for script in list(scripts.registered) if name == "job_functions" else [name]:
        source = script_source(script)
        scripts.registered[script] = redis_client.register_script(source.replace(good, bad))
    options: dict[str, Any] = {"stateful_step_count": 30, "phases": [Phase.generate], "report_multiple_bugs": False}
    with pytest.raises((AssertionError, ResponseError)):
        _search(redis_client, scripts, soon, options)
