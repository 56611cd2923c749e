"""Counts wrong passwords in Redis, for all front ends and Flower together, so that passwords cannot be guessed."""

from __future__ import annotations

import hashlib
import time
from collections import Counter

import redis

from worker.store.keys import Keys

#: How long attempts are counted after the first one (seconds); afterwards new ones are allowed.
WINDOW_S = 60
#: A network from which a user has signed in is known for so long: strangers elsewhere do not lock the user out there.
_KNOWN_S = 86400
#: That is written anew when it is older than this.
_RENEWED_S = 3600
#: How long Redis is not used after a failure (seconds).
_RECOVERY_S = 5.0

#: What Redis holds of the network, the user, and when the user was last seen to sign in there (seconds).
Counts = tuple[bytes | None, bytes | None, bytes | None]


class SignInAttempts:
    """Counts the wrong passwords for each user and from each network."""

    def __init__(self, client: redis.Redis, prefix: str, *, per_network: int, per_user: int) -> None:
        """Prepare; sends nothing to Redis yet.

        Args:
            client: Redis, with a short time limit.
            prefix: start of the keys there.
            per_network: wrong passwords that may come from one network in a minute, whoever they are for.
            per_user: wrong passwords that may be sent for one user in a minute, wherever they come from.
        """
        self._redis = client
        self._keys = Keys(prefix)
        self._per_network = per_network
        self._per_user = per_user
        #: Counted by this process in the current minute, for when Redis is unavailable.
        self._redis_skipped_until = float("-inf")
        self._local: Counter[str] = Counter()
        self._local_minute = 0

    def keys_of(self, user: str, network: str) -> tuple[str, str, str]:
        """The keys in Redis on which the decision depends."""
        return (
            self._keys.sign_in_attempts("network", _digest(network)),
            self._keys.sign_in_attempts("user", _digest(user)),
            self._keys.sign_in_attempts("known", _digest(f"{user} {network}")),
        )

    def counts(self, user: str, network: str) -> Counts | None:
        """Return the present counters; None while Redis is unavailable."""
        if time.monotonic() < self._redis_skipped_until:
            return None
        try:
            values: list[bytes | None] = self._redis.mget(self.keys_of(user, network))  # type: ignore[assignment]
        except redis.RedisError:
            self._skip_redis()
            return None
        return (values[0], values[1], values[2])

    def limit_reached(self, counts: Counts | None, user: str, network: str) -> str:
        """Return the setting whose limit this user or network has reached; empty if none."""
        of_network, of_user, last_success = counts or (None, None, None)
        local_counts = self._current_local_counts()
        by_network, by_user, _ = self.keys_of(user, network)
        if max(int(of_network or 0), local_counts[by_network]) >= self._per_network:
            return "SAPI_SIGN_IN_NETWORK_LIMIT"
        is_stranger = not last_success and max(int(of_user or 0), local_counts[by_user]) >= self._per_user
        return "SAPI_SIGN_IN_USER_LIMIT" if is_stranger else ""

    def record_failure(self, user: str, network: str) -> None:
        """Count a wrong password."""
        local_counts, counted = self._current_local_counts(), self.keys_of(user, network)[:2]
        local_counts.update(counted)
        if time.monotonic() < self._redis_skipped_until:
            return
        try:
            with self._redis.pipeline(transaction=True) as pipe:
                for key in counted:
                    pipe.set(key, 0, ex=WINDOW_S, nx=True)
                    pipe.incr(key)
                pipe.execute()
        except redis.RedisError:
            self._skip_redis()

    def record_success(self, user: str, network: str, counts: Counts | None = None) -> None:
        """Record the user's network; ``counts``: what Redis said of them before, if it was asked."""
        known_at_s = int(counts[2] or 0) if counts else 0
        now_s = int(time.time())
        if known_at_s > now_s - _RENEWED_S or time.monotonic() < self._redis_skipped_until:
            return
        try:
            self._redis.set(self.keys_of(user, network)[2], now_s, ex=_KNOWN_S)
        except redis.RedisError:
            self._skip_redis()

    def _skip_redis(self) -> None:
        """Count in this process only for a while, so that an unavailable Redis does not delay each request."""
        self._redis_skipped_until = time.monotonic() + _RECOVERY_S

    def _current_local_counts(self) -> Counter[str]:
        minute = int(time.monotonic() // WINDOW_S)
        if minute != self._local_minute:
            self._local_minute, self._local = minute, Counter()
        return self._local


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]
