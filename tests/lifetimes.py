"""Which keys in Redis end by themselves, when at the latest and at the soonest; docs/architecture.md lists all keys."""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

_DAY_S = 86400
_ENDED = -2
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


#: The time to live that those have at first whose time no setting changes (seconds).
SHORTEST_S = {
    "handed": 10,
    "reads_of": 60,
    "capacity": 15,
    "write_probe": 60,
    "metrics_history_due": 900,
    "repeats_of": 7 * _DAY_S,
    "used_state": 1200,
    "breaker": 15,
    "unreachable": 15,
    "health": 120,
}


def wrong_lifetimes(
    client: Redis, began_s: float, longest_s: Mapping[str, int] = MappingProxyType(LONGEST_S)
) -> dict[str, int]:
    """Return the keys of these kinds that end never, too late or too soon, with their time to live (-1: for ever).

    ``began_s``: when the first of them can have been written (monotonic seconds).
    """
    keys: Any = list(client.scan_iter(count=10_000))
    kinds = {key: key.decode(errors="replace").split(":")[1] for key in keys if b":" in key}
    ending = {key: kind for key, kind in kinds.items() if kind in longest_s}
    pipe = client.pipeline(transaction=False)
    for key in ending:
        pipe.ttl(key)
    lives = dict(zip(ending, pipe.execute(), strict=True))
    # Redis rounds to whole seconds.
    passed_s = time.monotonic() - began_s + 1
    return {
        key.decode(): life
        for key, life in lives.items()
        if not _is_right(life, SHORTEST_S.get(ending[key], 0) - passed_s, longest_s[ending[key]])
    }


def _is_right(life: int, shortest_s: float, longest_s: int) -> bool:
    """Is it within these bounds? -2: the key has ended meanwhile."""
    return life == _ENDED or (life >= 0 and shortest_s <= life <= longest_s)
