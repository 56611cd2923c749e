"""Page tokens: the first record of a page and the listing version, so that all pages are of one version."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

import orjson

from api.http.problems import Problem, invalid
from worker.jobs.record import ListingVersion
from worker.listings.repository import ListingState

_DIGEST_CHARS = 12


@dataclass(frozen=True, slots=True)
class Page:
    """The contents of a token: the first record of a page, the listing version, and the query."""

    cache_key: str
    base: str
    base_seq: int
    seq: int
    as_of_ms: int
    start: int
    query: str
    changed: str = ""

    @property
    def listing_version(self) -> ListingVersion:
        """The version of the listing of which all pages are."""
        return ListingVersion(self.cache_key, self.base, self.base_seq, self.seq, self.changed)


def make_token(listing_state: ListingState, text: str, start: int) -> str:
    """Return the token of the page of the query ``text`` that begins at record ``start``."""
    listing_version = listing_state.listing_version
    assert listing_version is not None  # noqa: S101 - there is a listing, so there is its state
    place = [
        listing_version.cache_key, listing_version.base, listing_version.base_seq, listing_version.seq,
        listing_state.as_of_ms, start, _digest(text), listing_version.changed,
    ]  # fmt: skip
    payload = orjson.dumps(place).decode()
    return base64.urlsafe_b64encode(f"{_digest(payload)}{payload}".encode()).decode().rstrip("=")


def parse_token(token: str, text: str) -> Page:
    """Read a token that was made for the query ``text``.

    Raises:
        Problem: ``validation-failed``: it was made for another query, or is damaged.
    """
    try:
        payload = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
        page = Page(*orjson.loads(payload[_DIGEST_CHARS:]))
    except (ValueError, TypeError, binascii.Error):
        raise bad_token() from None
    numbers = (page.base_seq, page.seq, page.as_of_ms, page.start)
    sound = (
        payload.startswith(_digest(payload[_DIGEST_CHARS:]))
        and all(type(number) is int and 0 <= number < 2**53 for number in numbers)
        and all(isinstance(part, str) for part in (page.cache_key, page.base, page.query, page.changed))
    )
    if not sound or page.query != _digest(text) or page.base_seq > page.seq:
        raise bad_token()
    return page


def expired_token() -> Problem:
    """Return the problem for a token whose listing version is kept no longer."""
    return Problem("page-token-expired", "The listing that the token pages through is kept no longer. Begin again.")


def bad_token() -> Problem:
    """Return the problem for a token that was not issued for this collection and query."""
    return invalid("/page_token", "belongs to another collection or query, or is damaged. Take it from a Link header.")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARS]
