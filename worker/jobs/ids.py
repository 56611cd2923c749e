"""Job ids: UUIDv7 (RFC 9562) with a keyed digest, so that ids issued by this service are recognised for ever.

48 bits of Unix milliseconds, 42 random bits and a 32-bit keyed digest of both. Nothing must be stored to tell an
expired job (410) from one that never existed (404).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import uuid

_MARK_BITS = 32
_RANDOM_BITS = 30


def is_uuid7(text: str) -> bool:
    """Is ``text`` a UUIDv7 in its usual form, in lower case?"""
    try:
        value = uuid.UUID(text)
    except ValueError:
        return False
    return str(value) == text and value.version == 7  # noqa: PLR2004 - UUIDv7


class JobIds:
    """Issues and recognises job ids under one secret, which all API and worker processes share."""

    def __init__(self, secret: bytes) -> None:
        self._digest = hmac.new(secret, digestmod=hashlib.sha256)

    def new(self) -> str:
        """Return a fresh id; ids sort by the time at which they were made (to the millisecond)."""
        unix_ms = time.time_ns() // 1_000_000
        head = (unix_ms << 16) | (7 << 12) | secrets.randbits(12)
        tail = (2 << 30) | secrets.randbits(_RANDOM_BITS)
        unmarked = (head << 32) | tail
        return str(uuid.UUID(int=(unmarked << _MARK_BITS) | self._mark_of(unmarked)))

    def is_ours(self, text: str) -> bool:
        """Was ``text`` made by ``new`` under this secret?"""
        if not is_uuid7(text):
            return False
        number = uuid.UUID(text).int
        return self._mark_of(number >> _MARK_BITS) == number & ((1 << _MARK_BITS) - 1)

    def _mark_of(self, unmarked: int) -> int:
        digest = self._digest.copy()
        digest.update(unmarked.to_bytes(12, "big"))
        return int.from_bytes(digest.digest()[:4], "big")
