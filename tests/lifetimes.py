"""Which keys in Redis end by themselves, when at the latest and at the soonest; docs/architecture.md lists all keys."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

_DAY_S = 86400
#: The longest time to live by kind of key (seconds): what stands between the prefix and the next colon.
LONGEST_S = {
    "reply": 10,
    "handed": 10,
    "waiting_slots": 10,
    "held": 60,
    "reads_of": 60,
    "capacity": 15,
    "write_probe": 60,
    "metrics_history_due": 900,
    "login": _DAY_S,
    "idem": _DAY_S,
    "result": _DAY_S,
    "repeat": 7 * _DAY_S,
    "repeats_of": 7 * _DAY_S,
    "listing": _DAY_S,
    "base": _DAY_S,
    "delta": _DAY_S,
    "old": _DAY_S,
    "alias": _DAY_S,
    "refresh": _DAY_S,
    "sessions_of": _DAY_S,
    "sessions_ended": 8 * 3600,
    "attempts": _DAY_S,
    "used_state": _DAY_S,
}
#: The same of the state of filers, which only workers write; tests of others write it by hand.
OF_FILERS_S = {"breaker": 15, "unreachable": 15, "health": 120}


#: Of those whose time no setting changes: how much of it is left at least after a test, however slow the machine is.
SHORTEST_S = {
    "handed": 3,
    "reads_of": 20,
    "capacity": 5,
    "write_probe": 20,
    "metrics_history_due": 300,
    "repeats_of": 2 * _DAY_S,
    "used_state": 400,
    "breaker": 5,
    "unreachable": 5,
    "health": 40,
}


def wrong_lifetimes(client: Redis, longest_s: Mapping[str, int] = MappingProxyType(LONGEST_S)) -> dict[str, int]:
    """Return the keys of these kinds that end never, too late or too soon, with their time to live (-1: for ever)."""
    keys: Any = list(client.scan_iter(count=10_000))
    kinds = {key: key.decode(errors="replace").split(":")[1] for key in keys if b":" in key}
    ending = {key: kind for key, kind in kinds.items() if kind in longest_s}
    pipe = client.pipeline(transaction=False)
    for key in ending:
        pipe.ttl(key)
    lives = dict(zip(ending, pipe.execute(), strict=True))
    # -2: it has ended meanwhile.
    return {
        key.decode(): life
        for key, life in lives.items()
        if life != -2 and not SHORTEST_S.get(ending[key], 0) <= life <= longest_s[ending[key]]
    }
