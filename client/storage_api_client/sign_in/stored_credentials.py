"""Credentials from ``credentials.json``, which are renewed automatically."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from storage_api_client.configuration.credentials_file import CredentialsFile, Entry
from storage_api_client.protocol.messages import ConnectionLost, Flow, Pause
from storage_api_client.protocol.retries import Anonymous, Credentials
from storage_api_client.sign_in.oauth import OAuthError, renew_tokens
from storage_api_client.sign_in.session import session_cookie
from storage_api_client.sign_in.static_credentials import basic

#: A token that ends within so many seconds is renewed before it is used.
_MARGIN_S = 30.0
_LOCK_TRIES = 100
_LOCK_PAUSE_S = 0.1


def stored_credentials(entry: Entry, file: CredentialsFile) -> Credentials:
    """Return the credentials of an entry."""
    if entry.get("kind") == "basic":
        return basic(str(entry.get("user", "")), str(entry.get("password", "")))
    kinds: dict[Any, type[_Renewed]] = {"oauth": StoredToken, "session": StoredSession}
    kind = kinds.get(entry.get("kind"))
    return kind(entry, file) if kind else Anonymous()


class _Renewed:
    """Credentials that end and can be renewed; by one process at a time, because a refresh token may work once only."""

    def __init__(self, entry: Entry, file: CredentialsFile) -> None:
        self._entry = entry
        self._file = file

    def headers(self) -> Flow[Mapping[str, str]]:
        """Return the headers that say who asks; renew the credentials first when they are about to end."""
        if self._entry.get("expires_at", time.time() + 2 * _MARGIN_S) < time.time() + _MARGIN_S:
            with suppress(ConnectionLost):  # The old ones may do.
                yield from self.renew()
        return self._signed()

    def renew(self) -> Flow[bool]:
        """Renew the credentials; False when they cannot be, or somebody has signed out meanwhile.

        What was stored by signing in otherwise meanwhile stays stored.
        """
        lock = yield from _locked(self._file)
        try:
            stored = self._file.find(str(self._entry["profile"]), str(self._entry["url"]))
            if stored is None:
                return False
            if stored != self._entry and stored.get("kind") == self._entry["kind"]:
                self._entry = stored
                return True
            new = yield from self._renewal()
            if new is None:
                return False
            is_ours = stored == self._entry
            self._entry = {**self._entry, **new}
            if is_ours:
                with suppress(OSError):  # Where they cannot be stored, they are those of this process.
                    self._file.store(self._entry)
            return True
        finally:
            if lock is not None:
                os.close(lock)

    def _signed(self) -> Mapping[str, str]:
        raise NotImplementedError

    def _renewal(self) -> Flow[Entry | None]:
        raise NotImplementedError


class StoredToken(_Renewed):
    """An access token, with what renews it."""

    def _signed(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._entry.get('access_token', '')}"}

    def _renewal(self) -> Flow[Entry | None]:
        try:
            return (yield from renew_tokens(self._entry))
        except OAuthError as error:
            if error.is_temporary:
                raise ConnectionLost(str(error).rstrip("."), sent=False) from None
            return None  # The answer of the service says that one must sign in.


class StoredSession(_Renewed):
    """A session of the development server."""

    def _signed(self) -> Mapping[str, str]:
        return {"Cookie": str(self._entry.get("cookie", ""))}

    def _renewal(self) -> Flow[Entry | None]:
        cookie = yield from session_cookie()
        return {"cookie": cookie} if cookie else None


def _locked(file: CredentialsFile) -> Flow[int | None]:
    """A lock that closing the returned handle gives back; None where there are no locks."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        handle = os.open(file.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError:  # In a folder that cannot be written to nobody stores anything.
        return None
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield Pause(_LOCK_PAUSE_S)
        else:
            break
    return handle
