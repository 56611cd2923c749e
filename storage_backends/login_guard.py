"""Keeps a refused login from being tried again and again: filers lock accounts that fail too often.

While it is not known whether a login works, one request tries it and the others wait for how it ends. A refused login
is left alone for a minute, and for longer each time, up to ``MAX_WAIT_S``; then one request may try it again. A
password that has been replaced is another login, and is tried at once.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass

from storage_backends.errors import BackendUnavailable

#: How long a refused login is not tried, in seconds: at first, and at most.
FIRST_WAIT_S, MAX_WAIT_S = 60.0, 900.0
#: How long others wait for the one that tries a login, in seconds; then another may try, too.
TRIAL_S = 10.0


@dataclass
class _Login:
    is_accepted: bool = False
    failures: int = 0
    #: Until when it is not tried, and until when somebody is trying it, on the monotonic clock.
    refused_until: float = 0.0
    tried_until: float = 0.0


class LoginGuard:
    """What this process knows of the logins to filers, by account and password; used by many threads.

    A subclass may share that with other processes: it overrides ``shared_wait_s``, ``share_refusal``,
    ``share_acceptance`` and ``share_undecided``.
    """

    def __init__(self) -> None:
        self._logins: dict[tuple[str, str], _Login] = {}
        self._changed = threading.Condition()

    def require(self, account: str, password: str) -> None:
        """Return if the login may be used now; waits while somebody else tries it.

        Raises:
            BackendUnavailable: it was refused, and it is not time to try it again.
        """
        key = (account, fingerprint(account, password))
        with self._changed:
            login = self._logins.setdefault(key, _Login())
            while not login.is_accepted and login.refused_until <= time.monotonic() < login.tried_until:
                self._changed.wait(max(0.01, login.tried_until - time.monotonic()))
            _raise_while(login.refused_until - time.monotonic())
            if not login.is_accepted:
                login.tried_until = time.monotonic() + TRIAL_S
        wait_s = self.shared_wait_s(*key, is_accepted=login.is_accepted)
        if wait_s > 0:
            with self._changed:
                login.is_accepted, login.tried_until = False, 0.0
                self._changed.notify_all()
            _raise_while(wait_s)

    def refused(self, account: str, password: str) -> None:
        """Note that the filer refused the login."""
        key = (account, fingerprint(account, password))
        with self._changed:
            login = self._logins.setdefault(key, _Login())
            if login.refused_until > time.monotonic():
                return
            login.failures += 1
            wait_s = min(MAX_WAIT_S, FIRST_WAIT_S * 2.0 ** (login.failures - 1))
            login.is_accepted, login.tried_until, login.refused_until = False, 0.0, time.monotonic() + wait_s
            self._changed.notify_all()
        self.share_refusal(*key, wait_s)

    def accepted(self, account: str, password: str) -> None:
        """Note that the filer took the login."""
        key = (account, fingerprint(account, password))
        login = self._logins.get(key)
        if login is not None and login.is_accepted:
            return
        with self._changed:
            login = self._logins.setdefault(key, _Login())
            login.is_accepted, login.failures, login.refused_until, login.tried_until = True, 0, 0.0, 0.0
            self._changed.notify_all()
        self.share_acceptance(*key)

    def undecided(self, account: str, password: str) -> None:
        """Note that a trial ended without an answer: the next one may try."""
        with self._changed:
            login = self._logins.get((account, fingerprint(account, password)))
            if login is None or login.is_accepted:
                return
            login.tried_until = 0.0
            self._changed.notify_all()
        self.share_undecided(account, fingerprint(account, password))

    # --- for those that share it

    def shared_wait_s(self, account: str, password_fingerprint: str, *, is_accepted: bool) -> float:
        """Return for how many seconds other processes say that the login must not be tried."""
        return 0.0

    def share_refusal(self, account: str, password_fingerprint: str, wait_s: float) -> None:
        """Tell other processes that the login was refused, and for how long it must not be tried."""

    def share_undecided(self, account: str, password_fingerprint: str) -> None:
        """Tell other processes that a trial ended without an answer."""

    def share_acceptance(self, account: str, password_fingerprint: str) -> None:
        """Tell other processes that the login was taken."""


def fingerprint(account: str, password: str) -> str:
    """Return what tells two passwords of an account apart: 16 bits, of which the password cannot be found out."""
    digest = hashlib.blake2b(password.encode("utf-8", "surrogatepass"), key=account.encode()[:64], digest_size=2)
    return digest.hexdigest()


def _raise_while(wait_s: float) -> None:
    if wait_s > 0:
        minutes = max(1, round(wait_s / 60))
        raise BackendUnavailable(
            f"The storage system refused the service's login. It is tried again in about {minutes} min,"
            " or as soon as the password's file is replaced."
        )
