"""Lets one worker at a time try a filer's login; once it is refused, no worker tries it again."""

from __future__ import annotations

import hashlib
import time

import redis

from storage_backends.login_guard import FIRST_WAIT_S, MAX_WAIT_S, TRIAL_S, LoginGuard
from worker.store.client import REDIS_UNAVAILABLE
from worker.store.keys import Keys

#: Seconds between checks whether another worker's attempt with a login that works here was refused.
_RECHECK_S = 1.0
_POLL_S = 0.1
_REMEMBERED_S = 24 * 3600


class SharedLoginGuard(LoginGuard):
    """Shares in Redis which logins were accepted and which refused; stores no password, only 16 bits of its digest.

    Without Redis each process uses its own results only.
    """

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        super().__init__()
        self._redis = client
        self._keys = Keys(prefix)
        self._checked: dict[tuple[str, str], float] = {}

    def shared_wait_s(self, account: str, password_fingerprint: str, *, is_accepted: bool) -> float:
        login = (account, password_fingerprint)
        if is_accepted and time.monotonic() - self._checked.get(login, 0.0) < _RECHECK_S:
            return 0.0
        self._checked[login] = time.monotonic()
        try:
            return self._refused_s(*login) if is_accepted else self._await_trial(*login)
        except REDIS_UNAVAILABLE:
            return 0.0

    def _refused_s(self, account: str, password_fingerprint: str) -> float:
        left_ms = self._redis.pttl(self._key("refused", account, password_fingerprint))
        return max(0.0, float(left_ms) / 1000)

    def _await_trial(self, *login: str) -> float:
        """Return 0 when this process may try the login, otherwise for how many seconds it must not."""
        until = time.monotonic() + TRIAL_S
        while True:
            refused_s = self._refused_s(*login)
            if refused_s > 0 or self._redis.exists(self._key("accepted", *login)):
                return refused_s
            if self._redis.set(self._key("trial", *login), "1", nx=True, px=int(TRIAL_S * 1000)):
                return 0.0
            if time.monotonic() > until:
                return TRIAL_S
            time.sleep(_POLL_S)

    def share_refusal(self, account: str, password_fingerprint: str, wait_s: float) -> None:
        login = (account, password_fingerprint)
        try:
            if not self._redis.set(self._key("refused", *login), "1", nx=True, px=int(wait_s * 1000)):
                return  # Another worker's attempt was refused at the same moment.
            failures = int(self._redis.incr(self._key("failures", *login)))
            shared_s = min(MAX_WAIT_S, FIRST_WAIT_S * 2.0 ** (failures - 1))
            with self._redis.pipeline() as pipe:
                pipe.pexpire(self._key("refused", *login), int(max(wait_s, shared_s) * 1000))
                pipe.expire(self._key("failures", *login), _REMEMBERED_S)
                pipe.delete(self._key("accepted", *login), self._key("trial", *login))
                pipe.execute()
        except REDIS_UNAVAILABLE:
            return

    def share_acceptance(self, account: str, password_fingerprint: str) -> None:
        login = (account, password_fingerprint)
        try:
            with self._redis.pipeline() as pipe:
                pipe.set(self._key("accepted", *login), "1", ex=_REMEMBERED_S)
                pipe.delete(*(self._key(name, *login) for name in ("refused", "failures", "trial")))
                pipe.execute()
        except REDIS_UNAVAILABLE:
            return

    def share_undecided(self, account: str, password_fingerprint: str) -> None:
        try:
            self._redis.delete(self._key("trial", account, password_fingerprint))
        except REDIS_UNAVAILABLE:
            return

    def _key(self, name: str, account: str, password_fingerprint: str) -> str:
        digest = hashlib.sha256(account.encode()).hexdigest()[:16]
        return self._keys.login(digest, password_fingerprint, name)
