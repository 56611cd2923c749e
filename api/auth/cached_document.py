"""Caches a document of the provider (metadata, keys), with rate-limited refreshes for which only one thread waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from api.auth.provider_http import COMMAND_TIMEOUT_S, ProviderUnavailable
from api.services import permit_released

#: Seconds after which the document is refreshed.
FRESH_S = 3600.0
#: Seconds for which an old one is used while the provider is unavailable.
USABLE_S = 24 * 3600.0
#: Token bucket for requests to the provider: burst, and seconds for each further request. New keys must
#: be fetched at once, without flooding the provider when clients send tokens with invented key ids.
BURST = 5
INTERVAL_S = 5.0
#: Seconds after a failure during which the provider is not asked again.
RECOVERY_S = 2.0


class CachedDocument:
    """Caches the latest result of ``fetch``."""

    def __init__(self, fetch: Callable[[], dict[str, Any]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._document: dict[str, Any] | None = None
        self._got_at = self._failed_at = float("-inf")
        self._allowance, self._counted_at = float(BURST), clock()

    def get(self) -> dict[str, Any]:
        """Return the document, from the cache or fetched.

        Raises:
            ProviderUnavailable: there is no document, or only one that is too old.
        """
        if self._age() > FRESH_S:
            self.renew(is_needed=self._document is None)
        if self._document is None or self._age() > USABLE_S:
            raise ProviderUnavailable("the provider is away, and is left alone for a moment")
        return self._document

    def renew(self, *, is_needed: bool = True) -> None:
        """Fetch the document again, unless that was done too often lately; ``is_needed``: an entry is missing.

        Raises:
            ProviderUnavailable: it does not answer, and there is no document.
        """
        seen = self._got_at
        # Other threads use the old document while one thread fetches, if that will do.
        if not (self._lock.acquire(blocking=False) or (is_needed and self._await_other_thread())):
            return
        try:
            if self._got_at == seen and self._may_ask():
                self._ask()
        finally:
            self._lock.release()

    def _await_other_thread(self) -> bool:
        with permit_released():
            return self._lock.acquire(timeout=COMMAND_TIMEOUT_S)

    def _age(self) -> float:
        return self._clock() - self._got_at

    def _may_ask(self) -> bool:
        now = self._clock()
        self._allowance = min(BURST, self._allowance + (now - self._counted_at) / INTERVAL_S)
        self._counted_at = now
        if now - self._failed_at < RECOVERY_S or self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _ask(self) -> None:
        try:
            self._document = self._fetch()
            self._got_at = self._clock()
        except ProviderUnavailable:
            self._failed_at = self._clock()
            if self._document is None:
                raise
