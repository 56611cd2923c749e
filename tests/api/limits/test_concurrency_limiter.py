"""The concurrency limiter: requests of ordinary users wait for a permit, those of others do not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from queue import Queue
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from flask import request

from api.limits.concurrency_limiter import ConcurrencyLimiter, waited_for_permit_s
from tests.api.front_end import FrontEnd
from worker.catalog.operations import Role

if TYPE_CHECKING:
    from redis import Redis
from tests.api.limits.permits import in_thread, request_of, take_permit

ORDINARY = frozenset({Role.USER})


def test_one_waits_until_the_other_has_ended(
    limiter: ConcurrencyLimiter, taken: tuple[threading.Event, threading.Event]
) -> None:
    assert not taken[1].is_set()
    limiter.release()
    assert taken[1].wait(20)


def test_a_paused_request_returns_its_permit(
    limiter: ConcurrencyLimiter, taken: tuple[threading.Event, threading.Event]
) -> None:
    limiter.pause()
    assert taken[1].wait(20)
    limiter.resume()


def test_waiting_requests_continue_when_redis_fails(
    limiter: ConcurrencyLimiter, taken: tuple[threading.Event, threading.Event]
) -> None:
    limiter.bypass()
    assert taken[1].wait(20)
    # Nor does who comes later, although the permit is still taken.
    later = in_thread(lambda: take_permit(limiter))
    later.join(4)
    assert not later.is_alive()


def test_a_failure_of_redis_bypasses_the_limiter(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, redis_client: Redis
) -> None:
    """Each waiting request would wait for Redis as long."""
    opened = Mock()
    monkeypatch.setattr(ConcurrencyLimiter, "bypass", opened)
    for url, failures in ((redis_url, 0), ("redis://127.0.0.1:1/0", 1)):
        FrontEnd(url).client(Role.USER).get("/v4/jobs")
        assert opened.call_count == failures


@pytest.mark.parametrize(
    "passes", [lambda: request_of(frozenset({Role.ADMIN})), lambda: request_of(on_admin_port=True)]
)
def test_exempt_requests_do_not_wait(
    limiter: ConcurrencyLimiter,
    taken: tuple[threading.Event, threading.Event],
    passes: Callable[[], AbstractContextManager[None]],
) -> None:
    answers: Queue[bool] = Queue()

    def work() -> None:
        with request_of(frozenset({Role.ADMIN})):
            limiter.identified()
        with passes():
            answers.put(limiter.acquire(request.environ))
            limiter.release()

    in_thread(work)
    assert answers.get(timeout=20) is True
    assert not taken[1].is_set()


def test_the_queue_is_limited(limiter: ConcurrencyLimiter, taken: tuple[threading.Event, threading.Event]) -> None:
    answers: Queue[bool] = Queue()

    def work() -> None:
        with request_of():
            answers.put(limiter.acquire(request.environ))
            limiter.release()

    # There is one place to wait, and three requests want it.
    threads = [in_thread(work) for _ in range(2)]
    assert answers.get(timeout=20) is False
    limiter.release()
    for thread in threads:
        thread.join(20)


def test_a_request_without_a_permit_in_time_is_refused() -> None:
    limiter = ConcurrencyLimiter(1, 1, max_wait_s=0.05)
    answers: Queue[bool] = Queue()

    def work() -> None:
        with request_of():
            answers.put(limiter.acquire(request.environ))
            limiter.release()

    with request_of():
        limiter.acquire(request.environ)
        in_thread(work)
        assert answers.get(timeout=20) is False
        limiter.release()
    # Afterwards both the permit and the place to wait for it are free.
    in_thread(work)
    assert answers.get(timeout=20) is True


def test_the_time_until_the_permit_counts_as_waited() -> None:
    limiter = ConcurrencyLimiter(1, 9, max_wait_s=0.05)
    with request_of():
        limiter.acquire(request.environ)
        threading.Thread(target=_begin_without_permit, args=(limiter, waited := Queue[float]())).start()
        assert waited.get(timeout=20) >= 0.05
        limiter.release()


def _begin_without_permit(limiter: ConcurrencyLimiter, waited: Queue[float]) -> None:
    with request_of():
        assert not limiter.acquire(request.environ)
        waited.put(waited_for_permit_s())
