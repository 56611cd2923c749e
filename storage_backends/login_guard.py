"""Limits attempts with a refused login: filers lock accounts after too many failures.

While it is not known whether a login works, one request tries it and the others wait for the outcome. A refused login
is not tried for a minute, and for longer each time, up to ``MAX_WAIT_S``; then one request may try it again. A
new password counts as another login, and is tried at once.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass

from storage_backends.errors import BackendUnavailable

#: How long a refused login is not tried, in seconds: at first, and at most.
FIRST_WAIT_S, MAX_WAIT_S = 60.0, 900.0
#: How long others wait for the request that tries a login (seconds); then another may try, too.
TRIAL_S = 10.0


@dataclass
class _Login:
    is_accepted: bool = False
    failures: int = 0
    #: Until when it must not be tried, and until when a trial is in progress (monotonic seconds).
    refused_until: float = 0.0
    tried_until: float = 0.0


class LoginGuard:
    """What this process knows of the logins to filers, by account and password; thread-safe.

    A subclass may share that with other processes: it overrides ``shared_wait_s``, ``share_refusal``,
    ``share_acceptance`` and ``share_undecided``.
    """

    def __init__(self) -> None:
        self._logins: dict[tuple[str, str], _Login] = {}
        self._changed = threading.Condition()

    def require(self, account: str, password: str) -> None:
        """Return if the login may be used now; waits while another request tries it.

        Raises:
            BackendUnavailable: it was refused, and must not be tried again yet.
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

    def record_refusal(self, account: str, password: str) -> None:
        """Record that the filer refused the login."""
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

    def record_acceptance(self, account: str, password: str) -> None:
        """Record that the filer accepted the login."""
        key = (account, fingerprint(account, password))
        login = self._logins.get(key)
        if login is not None and login.is_accepted:
            return
        with self._changed:
            login = self._logins.setdefault(key, _Login())
            login.is_accepted, login.failures, login.refused_until, login.tried_until = True, 0, 0.0, 0.0
            self._changed.notify_all()
        self.share_acceptance(*key)

    def record_undecided(self, account: str, password: str) -> None:
        """Record that a trial ended without a result: another request may try."""
        with self._changed:
            login = self._logins.get((account, fingerprint(account, password)))
            if login is None or login.is_accepted:
                return
            login.tried_until = 0.0
            self._changed.notify_all()
        self.share_undecided(account, fingerprint(account, password))

    # --- for those that share it

    def shared_wait_s(self, account: str, password_fingerprint: str, *, is_accepted: bool) -> float:
        """Return for how many seconds the login must not be tried, according to other processes."""
        return 0.0

    def share_refusal(self, account: str, password_fingerprint: str, wait_s: float) -> None:
        """Share with other processes that the login was refused, and for how long it must not be tried."""

    def share_undecided(self, account: str, password_fingerprint: str) -> None:
        """Share with other processes that a trial ended without a result."""

    def share_acceptance(self, account: str, password_fingerprint: str) -> None:
        """Share with other processes that the login was accepted."""


def fingerprint(account: str, password: str) -> str:
    """Return 16 bits that distinguish passwords of an account, but do not reveal them."""
    digest = hashlib.blake2b(password.encode("utf-8", "surrogatepass"), key=account.encode()[:64], digest_size=2)
    return digest.hexdigest()


def _raise_while(wait_s: float) -> None:
    if wait_s > 0:
        minutes = max(1, round(wait_s / 60))
        raise BackendUnavailable(
            f"The storage system refused the service's login. It is tried again in about {minutes} min,"
            " or as soon as the password's file is replaced."
        )
