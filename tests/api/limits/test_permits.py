"""How permits cool down, and how each request gives its permit back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Queue
from typing import TYPE_CHECKING

import pytest
import requests
from flask import Flask, request

from api.auth.provider_http import ProviderUnavailable, request_json
from api.limits.concurrency_limiter import ConcurrencyLimiter
from api.limits.fair_queue import FairQueue
from api.services import permit_released
from tests.api.front_end import FrontEnd, problem
from worker.catalog.operations import Role

if TYPE_CHECKING:
    from redis import Redis
    from werkzeug.test import TestResponse
from tests.api.limits.permits import (
    free_permits,
    identified,
    in_thread,
    needs_no_permit,
    request_of,
    take_permit,
)

ORDINARY = frozenset({Role.USER})


@pytest.mark.parametrize("roles", [ORDINARY, frozenset({Role.ADMIN})])
def test_permits_cool_down_while_users_who_may_do_changes_are_active(
    roles: frozenset[Role], monkeypatch: pytest.MonkeyPatch
) -> None:
    # However little a permit has computed.
    monkeypatch.setattr("api.limits.concurrency_limiter._COOLDOWN_FACTOR", 1e9)
    rests: list[float] = []
    limiter = ConcurrencyLimiter(1, 9, sleep=rests.append)
    with request_of(roles):
        limiter.identified()
        limiter.release()
    with request_of():
        limiter.acquire(request.environ)
        thread = threading.Thread(target=take_permit, args=(limiter,))
        thread.start()
        while not limiter.waiting:
            sum(range(1000))
        limiter.release()
    thread.join(20)
    assert rests == ([] if roles == ORDINARY else [0.25])


def test_a_repeated_request_counts_as_activity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.limits.concurrency_limiter._COOLDOWN_FACTOR", 1e9)
    monkeypatch.setattr("api.limits.concurrency_limiter._ACTIVE_S", 0.0)
    rests: list[float] = []
    limiter, known = ConcurrencyLimiter(1, 9, sleep=rests.append), {"Cookie": "root's"}
    identified(limiter, known, Role.ADMIN)
    monkeypatch.setattr("api.limits.concurrency_limiter._ACTIVE_S", 60.0)
    assert needs_no_permit(limiter, known)
    with request_of():
        limiter.acquire(request.environ)
        thread = in_thread(lambda: take_permit(limiter))
        while not limiter.waiting:
            sum(range(1000))
        limiter.release()
    thread.join(20)
    assert rests == [0.25]


def test_a_resumed_request_times_out_without_a_permit(
    limiter: ConcurrencyLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that was begun is completed."""
    monkeypatch.setattr("api.limits.concurrency_limiter._MAX_WAIT_AGAIN_S", 0.01)
    with request_of():
        limiter.acquire(request.environ)
        limiter.pause()
        other = Queue[bool]()
        in_thread(lambda: other.put(limiter.acquire({})))
        assert other.get(timeout=20)
        limiter.resume()
        assert limiter.acquire(request.environ)
        limiter.release()
    assert free_permits(limiter) == 0


def test_every_request_returns_its_permit(redis_url: str, redis_client: Redis) -> None:
    front_end = FrontEnd(redis_url, user_groups=(), max_working=1, read_wait=0)
    stranger = front_end.stranger()
    paths = ["/v4/filer/volumes", "/v4/filer/volumes/none", "/v4/jobs", "/v4/nowhere/volumes", "/metrics", "/console/"]
    for path in [*paths, "/v3/nowhere/volumes", "/v4/filer/volumes/v?odd=1"]:
        stranger.get(path, headers={"Prefer": "respond-async"})
    stranger.post("/v4/filer/volumes/v", json={})
    front_end.client(Role.USER).post("/v4/batches", json={"requests": []})
    assert stranger.get("/v4/filer/export").status_code == 401
    assert in_time(lambda: stranger.get("/openapi.json"))


def test_a_request_beyond_the_queue_limit_is_refused_with_a_problem(redis_url: str, redis_client: Redis) -> None:
    front_end = FrontEnd(redis_url, user_groups=(), max_working=1, max_queued=1, read_wait=0)
    limiter, stranger = front_end.services.concurrency_limiter, front_end.stranger()
    with limiter.permit({}):
        waits = in_thread(lambda: stranger.get("/openapi.json"))
        while not limiter.waiting:
            assert waits.is_alive()
        assert problem(_answer(front_end, "/openapi.json"), 429, "rate-limited")["limit"] == "SAPI_MAX_QUEUED"
        assert [_answer(front_end, path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
    waits.join(20)
    assert not waits.is_alive()


def _answer(front_end: FrontEnd, path: str, *roles: Role) -> TestResponse:
    """What a request in a thread of its own is answered with."""
    client = front_end.client(*roles) if roles else front_end.stranger()
    answers: Queue[TestResponse] = Queue()
    in_thread(lambda: answers.put(client.get(path)))
    return answers.get(timeout=20)


def test_after_one_request_a_user_with_a_role_for_changes_does_not_wait(redis_url: str, redis_client: Redis) -> None:
    front_end = FrontEnd(redis_url, max_working=1)
    assert _answer(front_end, "/v4/jobs", Role.ADMIN).status_code == 200
    with front_end.services.concurrency_limiter.permit({}):
        assert _answer(front_end, "/v4/jobs", Role.ADMIN).status_code == 200


def test_a_nested_request_keeps_the_permit_of_the_outer_one(limiter: ConcurrencyLimiter) -> None:
    with limiter.permit({}):
        with limiter.permit({}):
            pass
        assert free_permits(limiter) == 0
    assert free_permits(limiter) == 1


def test_a_permit_is_released_during_a_wait_and_acquired_again(redis_url: str, redis_client: Redis) -> None:
    front_end = FrontEnd(redis_url, max_working=1)
    limiter = front_end.services.concurrency_limiter
    for waiting in (permit_released, lambda: front_end.services.events.watch("job", end=False, has_slot=False)):
        with front_end.app().test_request_context("/"), limiter.permit(request.environ):
            with waiting():
                assert free_permits(limiter) == 1
            assert free_permits(limiter) == 0


def test_the_permit_is_released_during_requests_to_the_provider(
    redis_url: str, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    front_end, free = FrontEnd(redis_url, max_working=1), list[int]()
    limiter = front_end.services.concurrency_limiter

    def ask(*_arguments: object, **_options: object) -> None:
        free.append(free_permits(limiter))
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "request", ask)
    with front_end.app().test_request_context("/"), limiter.permit(request.environ):
        with pytest.raises(ProviderUnavailable):
            request_json("GET", "https://sso.example.org")
        assert (free, free_permits(limiter)) == ([1], 0)


def test_permits_are_queued_by_sender_and_resumed_requests_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def acquire(_queue: FairQueue, sender: str, _timeout_s: float, *, again: bool = False) -> bool:
        asked.append((sender, again))
        return True

    monkeypatch.setattr(FairQueue, "acquire", acquire)
    monkeypatch.setattr(FairQueue, "release", lambda *_: None)
    limiter, known = ConcurrencyLimiter(1, 9), {"Cookie": "ann's"}
    identified(limiter, known, Role.USER)
    for headers in ({}, {"Cookie": "nobody's"}, known):
        with Flask("test").test_request_context("/", headers=headers):
            limiter.acquire(request.environ)
            limiter.pause()
            limiter.resume()
            limiter.release()
    assert [sender for sender, again in asked if not again] == ["ann", "", "?", "ann"]
    assert len([sender for sender, again in asked if again]) == 3


def in_time(work: Callable[[], object]) -> bool:
    done = threading.Event()

    def run() -> None:
        work()
        done.set()

    in_thread(run)
    return done.wait(20)
