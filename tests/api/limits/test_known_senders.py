"""Which senders are known to have a role for changes before their rights are looked up."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from flask import g, request

from api.limits.concurrency_limiter import ConcurrencyLimiter
from worker.catalog.operations import Role

if TYPE_CHECKING:
    pass
from tests.api.limits.permits import free_permits, identified, needs_no_permit, request_of

ORDINARY = frozenset({Role.USER})


@pytest.fixture
def full_limiter() -> ConcurrencyLimiter:
    """Refuses every sender that is not known."""
    return ConcurrencyLimiter(1, 0)


@pytest.mark.parametrize("header", ["Authorization", "Cookie"])
def test_a_sender_with_a_role_for_changes_is_remembered(full_limiter: ConcurrencyLimiter, header: str) -> None:
    known, other = {header: "one"}, {header: "other"}
    identified(full_limiter, known, Role.USER, Role.ADMIN)
    assert needs_no_permit(full_limiter, known)
    assert not needs_no_permit(full_limiter, other)
    assert not needs_no_permit(full_limiter, {})
    for loses_the_role in (other, known):
        identified(full_limiter, loses_the_role, Role.USER)
        assert not needs_no_permit(full_limiter, loses_the_role)


def test_a_header_shared_by_many_sessions_identifies_no_sender(
    full_limiter: ConcurrencyLimiter,
) -> None:
    same = {"Authorization": "Bearer dummytoken"}
    identified(full_limiter, {**same, "Cookie": "of an admin"}, Role.ADMIN)
    others = (same, {**same, "Cookie": "of somebody else"}, {**same, "Cookie": "of an admin"})
    assert [needs_no_permit(full_limiter, sent) for sent in others] == [False, False, True]


def test_the_last_thousand_senders_are_remembered(full_limiter: ConcurrencyLimiter) -> None:
    for number in range(1001):
        identified(full_limiter, {"Cookie": str(number)}, Role.ADMIN)
        if number == 999:
            identified(full_limiter, {"Cookie": "0"}, Role.ADMIN)
    known = [needs_no_permit(full_limiter, {"Cookie": str(number)}) for number in (0, 1, 2, 1000)]
    assert known == [True, False, True, True]


def test_a_user_with_a_role_for_changes_returns_the_permit(
    limiter: ConcurrencyLimiter, taken: tuple[threading.Event, threading.Event]
) -> None:
    g.principal = SimpleNamespace(owner="root", roles=frozenset({Role.ADMIN}))
    limiter.identified()
    assert taken[1].wait(20)


def test_an_ordinary_user_takes_a_permit(limiter: ConcurrencyLimiter) -> None:
    with request_of():
        limiter.identified()
        assert free_permits(limiter) == 0
        limiter.release()
    assert free_permits(limiter) == 1


def test_a_permit_is_returned_once(limiter: ConcurrencyLimiter) -> None:
    with request_of():
        limiter.acquire(request.environ)
        limiter.pause()
        limiter.pause()
        assert free_permits(limiter) == 1
        limiter.release()
        assert free_permits(limiter) == 1
        limiter.acquire(request.environ)
        limiter.pause()
        limiter.resume()
        limiter.resume()
        assert free_permits(limiter) == 0
        limiter.release()
        limiter.release()
    assert free_permits(limiter) == 1
