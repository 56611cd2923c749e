"""The scripts against the model; and scripts that are broken on purpose, each of which the model must find out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis, ResponseError

from tests.worker.bench import PREFIX
from tests.worker.machine import Machine
from worker.store import client as redis_access
from worker.store.client import Scripts

#: (script, what it says, what it would say if somebody broke it)
MUTANTS = {
    "an end needs no owner": ("finish", "if f[1] ~= ARGV[2] or (", "if ("),
    "a running job is given away again": ("claim", "if f[1] ~= 'queued' then", "if is_done(f[1]) then"),
    "the order does not matter": ("claim", "if blocked(id) then return {'BEHIND'} end", ""),
    "one line is enough": ("prelude", "if head and head ~= id then return true", "if head then return head ~= id"),
    "the end leaves the line standing": ("prelude", "redis.call('ZREM', order_key(sub, key), id)", ""),
    "a mark needs no owner": ("mark", "if f[1] ~= ARGV[2] or (", "if ("),
    "a beat needs no owner": ("beat", "if f[1] ~= ARGV[i + 1] or (", "if ("),
    "what was sent is done again": ("sweep", "elseif f.step == '' then give_back", "elseif true then give_back"),
    "the sweep leaves the old owner": ("sweep", "'owner', owner .. ':' .. id, 'lease'", "'lease'"),
    "a cancelled job is sent all the same": ("mark", "and f[3] == '' then return", "and f[3] == 'x' then return"),
    "what was sent can be cancelled": (
        "mark",
        "fields.backend_job, fields.cancellable = '', '0'",
        "fields.backend_job = ''",
    ),
    "a cancelled job goes back into its lane": (
        "requeue",
        "f[1] == ARGV[2] and f[2] == 'cancelling' then return 'CANCEL'",
        "f[2] == 'cancelling' then f[2] = 'running'",
    ),
    "a key is forgotten": ("accept", "if known[1] then", "if known[9] then"),
    "a lost answer is no end": ("finish", "if f[3] == ARGV[2] then", "if false then"),
    "those behind are not rung": (
        "prelude",
        "  lift_barrier(id, sub, bells)\n  ring_heads(sub, keys, bells)",
        "  lift_barrier(id, sub, bells)",
    ),
}


def _run(client: Redis, scripts: Any, quick: settings) -> None:
    def machine() -> Machine:
        return Machine(client, scripts)

    run_state_machine_as_test(machine, settings=quick)  # type: ignore[arg-type]


def _quick(**more: Any) -> settings:
    return settings(deadline=None, suppress_health_check=list(HealthCheck), database=None, **more)


def test_the_scripts_do_as_the_model(redis_client: Redis):
    _run(redis_client, Scripts(redis_client, PREFIX), _quick(max_examples=settings().max_examples * 2))


@pytest.mark.parametrize("what", MUTANTS)
def test_a_broken_script_is_found_out(redis_client: Redis, what: str):
    name, good, bad = MUTANTS[what]
    assert redis_access._source("claim" if name == "prelude" else name).count(good) == 1
    scripts = Scripts(redis_client, PREFIX)
    for known in list(scripts._registered) if name == "prelude" else [name]:
        source = redis_access._source(known)
        scripts._registered[known] = redis_client.register_script(source.replace(good, bad))
    quick = _quick(
        max_examples=2000, stateful_step_count=30, phases=[Phase.generate], derandomize=True, report_multiple_bugs=False
    )
    with pytest.raises((AssertionError, ResponseError)):
        _run(redis_client, scripts, quick)
