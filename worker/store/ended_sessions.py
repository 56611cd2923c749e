"""When the sessions of users were ended on demand; Flower, which stores no sessions, checks its cookies by this."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import redis

from worker.store.keys import Keys

#: The maximum lifetime of Flower's sessions (seconds).
FLOWER_LIFETIME_S = 8 * 3600


def ended_digest(user: str) -> str:
    """Return the digest of a user for the key."""
    return hashlib.sha256(user.encode()).hexdigest()


def have_ended(client: redis.Redis, prefix: str, users: Iterable[str], began_s: float) -> bool:
    """Were sessions of this user, by any of these names, ended since ``began_s`` (seconds since 1970)?

    Raises what redis-py raises when Redis is unavailable.
    """
    keys = Keys(prefix)
    ended = [client.get(keys.sessions_ended(ended_digest(user))) for user in users if user]
    return any(isinstance(at_s, bytes) and int(at_s) >= int(began_s) for at_s in ended)
