"""A document of the provider (its metadata, its keys), kept at hand: asked for rarely, and never waited for by many."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from api.auth.provider_http import COMMAND_TIMEOUT_S, ProviderUnavailable

#: After this time the document is asked for again.
FRESH_S = 3600.0
#: For so long an old one does while the provider is away.
USABLE_S = 24 * 3600.0
#: How often the provider is asked at most: so many times at once, then one time in so many seconds. New keys must
#: be learnt of at once, and the provider not be flooded because strangers send tokens with made-up key ids.
BURST = 5
INTERVAL_S = 5.0
#: A provider that was away is left alone for so long.
RECOVERY_S = 2.0


class CachedDocument:
    """The latest answer of ``fetch``."""

    def __init__(self, fetch: Callable[[], dict[str, Any]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._document: dict[str, Any] | None = None
        self._got_at = self._failed_at = float("-inf")
        self._allowance, self._counted_at = float(BURST), clock()

    def get(self) -> dict[str, Any]:
        """The document, new or at hand.

        Raises:
            ProviderAway: it was never got, or too long ago.
        """
        if self._age() > FRESH_S:
            self.renew()
        if self._document is None or self._age() > USABLE_S:
            raise ProviderUnavailable("the provider is away, and is left alone for a moment")
        return self._document

    def renew(self) -> None:
        """Ask again, unless that was done too often lately: something that the document should hold is not in it.

        Raises:
            ProviderAway: it does not answer, and never did.
        """
        seen = self._got_at
        # Who has an old document goes on with it while another one asks.
        patience_s = COMMAND_TIMEOUT_S if self._document is None else 0
        if not self._lock.acquire(timeout=patience_s):
            return
        try:
            if self._got_at == seen and self._may_ask():
                self._ask()
        finally:
            self._lock.release()

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
