"""Which keys in Redis end by themselves, and after which time at the latest: the rest is listed in docs/architecture.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis import Redis

_DAY_S = 86400
#: The longest time to live by kind of key (seconds): what stands between the prefix and the next colon.
LONGEST_S = {
    "reply": 10,
    "handed": 10,
    "waiting_slots": 1,
    "held": 5,
    "reads_of": 60,
    "capacity": 15,
    "breaker": 15,
    "unreachable": 15,
    "health": 120,
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
    "session": _DAY_S,
    "sessions_of": _DAY_S,
    "sessions_ended": 8 * 3600,
    "attempts": _DAY_S,
    "used_state": _DAY_S,
}


def lasting_keys(client: Redis) -> dict[str, int]:
    """Return the keys that should end by themselves and do not, or too late, with their time to live (-1: for ever)."""
    keys: Any = list(client.scan_iter(count=10_000))
    kinds = {key: key.decode(errors="replace").split(":")[1:2] for key in keys}
    ending = [key for key, kind in kinds.items() if kind and kind[0] in LONGEST_S]
    pipe = client.pipeline(transaction=False)
    for key in ending:
        pipe.ttl(key)
    lives = dict(zip(ending, pipe.execute(), strict=True))
    # -2: it has ended meanwhile.
    return {
        key.decode(): life for key, life in lives.items() if life == -1 or life > LONGEST_S[kinds[key][0]]
    }
