"""Slots for long requests: no user can take them all."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, Any

import pytest

from api.limits.slots import Slots
from tests.api.front_end import JSON, FrontEnd, problem
from worker.catalog.operations import Role

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

STRANGER, ANN, BOB, ROOT = ("", False), ("ann", False), ("bob", False), ("root", True)


def _taken(slots: Slots, who: tuple[str, bool]) -> int:
    """How many slots a user gets."""
    count = 0
    while slots.acquire(who):
        count += 1
    return count


def test_slots_are_limited_for_each_user_and_in_total() -> None:
    slots = Slots(100, 40)
    assert [_taken(slots, who) for who in (STRANGER, ANN, BOB)] == [40, 40, 10]
    assert _taken(slots, ROOT) == 10


def test_users_with_a_role_for_changes_are_limited_by_the_total_only() -> None:
    slots = Slots(100, 40)
    assert _taken(slots, ROOT) == 100
    assert not slots.acquire(STRANGER)
    slots.release(ROOT)
    assert slots.acquire(STRANGER)


def test_released_slots_leave_no_entry() -> None:
    slots = Slots(100, 40)
    for number in range(3):
        assert slots.acquire((f"user {number}", False))
        slots.release((f"user {number}", False))
    assert not slots._by_requester


@pytest.mark.parametrize("total", [0, 1])
def test_a_small_total_may_be_used_by_one_user(total: int) -> None:
    assert _taken(Slots(total, 40), ANN) == total


class SlowBody(io.RawIOBase):
    """A body that does not come before the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_for, self.comes = threading.Event(), threading.Event()

    def readable(self) -> bool:
        return True

    def readinto(self, _buffer: Any) -> int:
        self.asked_for.set()
        assert self.comes.wait(20)
        return 0


@pytest.fixture(scope="module")
def front_end(redis_url: str) -> FrontEnd:
    return FrontEnd(redis_url, max_bodies=5)


@pytest.mark.parametrize("path", ["/v4/jobs/retry", "/v4/jobs/cancel"])
def test_the_number_of_slow_bodies_of_a_user_is_limited(front_end: FrontEnd, redis_client: object, path: str) -> None:
    client = front_end.client(Role.USER)
    bodies = [SlowBody(), SlowBody()]
    answers: list[TestResponse] = []

    def send(body: SlowBody) -> None:
        sent = {"wsgi.input": body, "CONTENT_LENGTH": "100"}
        answers.append(client.post(path, headers=JSON, environ_overrides=sent))

    threads = [threading.Thread(target=send, args=(body,)) for body in bodies]
    for thread, body in zip(threads, bodies, strict=True):
        thread.start()
        assert body.asked_for.wait(20)
    refused = client.post(path, data=b"{}", headers=JSON)
    assert problem(refused, 429, "rate-limited")["limit"] == "SAPI_MAX_BODIES"
    assert refused.headers["Retry-After"] == "1"
    # Somebody who may do changes is not concerned, also when others have all the places that are left.
    others = [(f"user {number}", False) for number in range(3)]
    assert [front_end.services.body_slots.acquire(other) for other in others] == [True] * 3
    assert front_end.client(Role.USER, Role.ADMIN).post(path, data=b"{}", headers=JSON).status_code == 422
    for other in others:
        front_end.services.body_slots.release(other)
    for body in bodies:
        body.comes.set()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [400, 400]
    assert client.post(path, data=b"{}", headers=JSON).status_code == 422
