"""Sessions: a signed cookie holds only a random id; the session itself is in Redis, where signing out deletes it."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import redis
from cryptography.fernet import Fernet, InvalidToken
from flask import session

from api.auth.principals import Identity
from worker.store.client import REDIS_UNAVAILABLE
from worker.store.ended_sessions import FLOWER_LIFETIME_S, ended_digest
from worker.store.keys import Keys

_ID = "id"
#: How long a sign-in may take (seconds).
SIGN_IN_LIMIT_S = 600
#: How often a process extends a session's TTL in Redis, at least (seconds).
_TOUCH_EVERY_S = 60
_MOST_TOUCHED = 10_000
#: How long one request may take to refresh a session's groups before another tries (seconds).
_CHECK_S = 10


class SessionStoreUnavailable(Exception):
    """Redis, which holds the sessions, is unavailable."""


@dataclass(frozen=True, slots=True)
class Session:
    """The data of a session."""

    identity: Identity
    #: Made in debug mode: has every role, for loopback clients and only in that mode.
    debug: bool = False
    #: Was it made by HTTP Basic?
    basic: bool = False
    #: When it began, and when the groups were last refreshed (Unix seconds).
    began_s: float = 0.0
    checked_s: float = 0.0
    #: The provider's tokens, for refreshing the groups; encrypted with a key from the browser's cookie.
    sealed_tokens: str = ""


class Sessions:
    """The sessions of all API processes."""

    def __init__(self, client: redis.Redis, prefix: str, *, lifetime_s: int, idle_s: int) -> None:
        """``lifetime_s``: how long a session lasts; ``idle_s``: how long without a request."""
        self._redis = client
        self._prefix = prefix
        self._keys = Keys(prefix)
        self._lifetime_s = lifetime_s
        self._idle_s = min(idle_s, lifetime_s)
        #: How often a session that is used is extended (seconds).
        self.touch_every_s = min(_TOUCH_EVERY_S, self._idle_s / 4)
        self._touched_at: dict[str, float] = {}

    def begin(self, user_session: Session, tokens: Mapping[str, Any] | None = None) -> None:
        """Begin a session with a new id, which prevents session fixation, in the place of this browser's present one.

        Args:
            user_session: the session's data.
            tokens: the provider's tokens for refreshing the groups.

        Raises:
            SessionStoreUnavailable: Redis is unavailable; the present session goes on.
        """
        present = self.current_key()
        new, now_s = secrets.token_urlsafe(32), time.time()
        sealed = _seal(new, tokens) if tokens else ""
        user_session = replace(user_session, began_s=now_s, checked_s=now_s, sealed_tokens=sealed)
        try:
            with self._redis.pipeline(transaction=True) as pipe:
                if present:
                    pipe.delete(present)
                pipe.set(self._key(new), json.dumps(asdict(user_session)), ex=self._idle_s)
                for user in _names_of(user_session.identity):
                    index = self._keys.sessions_of(_digest(user))
                    # Expired sessions are removed from the index.
                    pipe.zremrangebyscore(index, "-inf", now_s - self._lifetime_s)
                    pipe.zadd(index, {self._key(new): now_s})
                    pipe.expire(index, self._lifetime_s)
                pipe.execute()
        except REDIS_UNAVAILABLE as exc:
            raise SessionStoreUnavailable from exc
        session.clear()
        session[_ID] = new
        session.permanent = True

    def current(self) -> Session | None:
        """Return the session of this request's cookie, if there is one, and extend its idle time.

        Raises:
            SessionStoreUnavailable: Redis is unavailable.
        """
        session_id = session.get(_ID)
        if not isinstance(session_id, str):
            return None
        key = self._key(session_id)
        try:
            stored = self._redis.get(key)
        except REDIS_UNAVAILABLE as exc:
            raise SessionStoreUnavailable from exc
        user_session = _parse(stored) if isinstance(stored, bytes | str) else None
        if user_session is None or time.time() >= user_session.began_s + self._lifetime_s:
            return None
        self._touch(key, user_session)
        return user_session

    def _touch(self, key: str, user_session: Session) -> None:
        """Extend the session's TTL, but not with each request, to save writes."""
        now_s = time.monotonic()
        if now_s - self._touched_at.get(key, float("-inf")) < self.touch_every_s:
            return
        left_s = user_session.began_s + self._lifetime_s - time.time()
        # While Redis accepts no writes, sessions are not extended.
        with suppress(redis.RedisError):
            self._redis.expire(key, max(1, int(min(self._idle_s, left_s))))
        if len(self._touched_at) >= _MOST_TOUCHED:
            self._touched_at.clear()
        self._touched_at[key] = now_s

    def claim_check(self) -> bool:
        """Claim the refresh of the session's groups for this request; False while another request does it.

        Raises:
            SessionStoreUnavailable: Redis is unavailable.
        """
        try:
            return bool(self._redis.set(f"{self.current_key()}:check", "1", nx=True, ex=_CHECK_S))
        except REDIS_UNAVAILABLE as exc:
            raise SessionStoreUnavailable from exc

    def tokens_of(self, user_session: Session) -> dict[str, Any]:
        """Return the provider's tokens of this request's session; empty if there are none."""
        return _open(str(session.get(_ID)), user_session.sealed_tokens)

    def update(self, user_session: Session, tokens: Mapping[str, Any]) -> None:
        """Store new data of this request's session with these tokens, unless it has ended meanwhile.

        Raises:
            SessionStoreUnavailable: Redis is unavailable.
        """
        session_id = str(session.get(_ID))
        user_session = replace(user_session, sealed_tokens=_seal(session_id, tokens))
        try:
            self._redis.set(self._key(session_id), json.dumps(asdict(user_session)), xx=True, keepttl=True)
        except REDIS_UNAVAILABLE as exc:
            raise SessionStoreUnavailable from exc

    def end_all_of(self, user: str) -> int:
        """End every session of a user, in all browsers and Flower; return how many the API had.

        Args:
            user: their name, or their id at the provider.

        Raises:
            SessionStoreUnavailable: Redis is unavailable; their sessions have not ended.
        """
        index = self._keys.sessions_of(_digest(user))
        try:
            session_keys = self._redis.zrange(index, 0, -1)
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(self._keys.sessions_ended(ended_digest(user)), int(time.time()), ex=FLOWER_LIFETIME_S)
                if session_keys:
                    # Not the whole index: a session that began meanwhile must be found the next time.
                    pipe.zrem(index, *session_keys)
                    pipe.delete(*session_keys)
                replies = pipe.execute()
        except REDIS_UNAVAILABLE as exc:
            raise SessionStoreUnavailable from exc
        return int(replies[-1]) if session_keys else 0

    def current_key(self) -> str:
        """Return the Redis key of this request's session, which exists as long as the session."""
        session_id = session.get(_ID)
        return self._key(session_id) if isinstance(session_id, str) else ""

    def end(self) -> None:
        """End this browser's session for all API processes; a copy of its cookie is invalid from now on.

        Raises:
            SessionStoreUnavailable: Redis is unavailable; the session has not ended.
        """
        session_id = session.get(_ID)
        try:
            if isinstance(session_id, str):
                self._redis.delete(self._key(session_id))
        except REDIS_UNAVAILABLE as exc:
            raise SessionStoreUnavailable from exc
        session.clear()

    def use_once(self, state: str) -> bool:
        """Return whether ``state`` is used for the first time within the time limit of a sign-in.

        Raises:
            SessionStoreUnavailable: Redis is unavailable.
        """
        key = f"{self._prefix}used_state:{_digest(state)}"
        try:
            return bool(self._redis.set(key, "1", nx=True, ex=2 * SIGN_IN_LIMIT_S))
        except REDIS_UNAVAILABLE as exc:
            raise SessionStoreUnavailable from exc

    def _key(self, session_id: str) -> str:
        # The id must not be readable from Redis: it would be enough to make a cookie.
        return f"{self._prefix}session:{_digest(session_id)}"


def _names_of(identity: Identity) -> set[str]:
    """The names by which a user's sessions can be ended: the name that jobs show, and the id at the provider."""
    return {name for name in (identity.name, identity.subject) if name}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _cipher(session_id: str) -> Fernet:
    # Derived from the id, which only the cookie holds: the tokens cannot be read from Redis alone.
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(f"tokens of {session_id}".encode()).digest()))


def _seal(session_id: str, tokens: Mapping[str, Any]) -> str:
    return _cipher(session_id).encrypt(json.dumps(dict(tokens)).encode()).decode()


def _open(session_id: str, sealed: str) -> dict[str, Any]:
    try:
        opened: dict[str, Any] = json.loads(_cipher(session_id).decrypt(sealed.encode()))
    except InvalidToken:
        return {}
    return opened


def _parse(text: bytes | str) -> Session:
    fields: dict[str, Any] = json.loads(text)
    identity = fields["identity"]
    return Session(
        identity=Identity(identity["name"], identity["subject"], tuple(identity["groups"]), identity.get("issuer", "")),
        debug=fields["debug"],
        basic=fields["basic"],
        # A session of an earlier version has no times: they start now.
        began_s=fields.get("began_s", time.time()),
        checked_s=fields.get("checked_s", 0.0),
        sealed_tokens=fields.get("sealed_tokens", ""),
    )
