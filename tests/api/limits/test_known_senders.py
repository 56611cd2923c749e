"""Who is believed to be a user with a role for changes before their rights are looked up."""

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
from tests.api.limits.permits import free_permits, identified, request_of, waits_for_nobody

ORDINARY = frozenset({Role.USER})


@pytest.fixture
def nobody_may_wait() -> ConcurrencyLimiter:
    """All that is not known is refused."""
    return ConcurrencyLimiter(1, 0)


@pytest.mark.parametrize("header", ["Authorization", "Cookie"])
def test_who_was_seen_with_a_role_for_changes_is_known(nobody_may_wait: ConcurrencyLimiter, header: str) -> None:
    known, other = {header: "one"}, {header: "other"}
    identified(nobody_may_wait, known, Role.USER, Role.ADMIN)
    assert waits_for_nobody(nobody_may_wait, known)
    assert not waits_for_nobody(nobody_may_wait, other)
    assert not waits_for_nobody(nobody_may_wait, {})
    for loses_the_role in (other, known):
        identified(nobody_may_wait, loses_the_role, Role.USER)
        assert not waits_for_nobody(nobody_may_wait, loses_the_role)


def test_a_header_that_many_clients_send_beside_their_sessions_makes_none_of_them_known(
    nobody_may_wait: ConcurrencyLimiter,
) -> None:
    same = {"Authorization": "Bearer dummytoken"}
    identified(nobody_may_wait, {**same, "Cookie": "of an admin"}, Role.ADMIN)
    others = (same, {**same, "Cookie": "of somebody else"}, {**same, "Cookie": "of an admin"})
    assert [waits_for_nobody(nobody_may_wait, sent) for sent in others] == [False, False, True]


def test_only_the_last_thousand_are_known(nobody_may_wait: ConcurrencyLimiter) -> None:
    for number in range(1001):
        identified(nobody_may_wait, {"Cookie": str(number)}, Role.ADMIN)
        if number == 999:
            identified(nobody_may_wait, {"Cookie": "0"}, Role.ADMIN)
    known = [waits_for_nobody(nobody_may_wait, {"Cookie": str(number)}) for number in (0, 1, 2, 1000)]
    assert known == [True, False, True, True]


def test_who_turns_out_to_may_do_changes_gives_the_permit_back(
    limiter: ConcurrencyLimiter, taken: tuple[threading.Event, threading.Event]
) -> None:
    g.principal = SimpleNamespace(owner="root", roles=frozenset({Role.ADMIN}))
    limiter.identified()
    assert taken[1].wait(20)


def test_who_turns_out_to_be_an_ordinary_user_takes_a_permit(limiter: ConcurrencyLimiter) -> None:
    with request_of():
        limiter.identified()
        assert free_permits(limiter) == 0
        limiter.release()
    assert free_permits(limiter) == 1


def test_a_permit_is_given_back_once(limiter: ConcurrencyLimiter) -> None:
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
