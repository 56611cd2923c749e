"""A limiter with one permit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from flask import request

from api.limits.concurrency_limiter import ConcurrencyLimiter
from worker.catalog.operations import Role

if TYPE_CHECKING:
    pass
from tests.api.limits.permits import in_thread, request_of

ORDINARY = frozenset({Role.USER})


@pytest.fixture
def limiter() -> ConcurrencyLimiter:
    return ConcurrencyLimiter(1, 1)


@pytest.fixture
def taken(limiter: ConcurrencyLimiter) -> Iterator[tuple[threading.Event, threading.Event]]:
    """A second request of an ordinary user, in a thread of its own: that it begins, and that it has its permit."""
    begins, has_permit = threading.Event(), threading.Event()

    def work() -> None:
        with request_of():
            begins.set()
            if limiter.acquire(request.environ):
                has_permit.set()
            limiter.release()

    with request_of():
        limiter.acquire(request.environ)
        thread = in_thread(work)
        assert begins.wait(20)
        yield begins, has_permit
        limiter.release()
    thread.join(20)
    assert has_permit.is_set()
