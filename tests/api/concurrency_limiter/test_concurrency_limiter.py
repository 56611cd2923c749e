"""The concurrency limiter: requests of ordinary users wait for a permit, those of others do not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from queue import Queue
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
import requests
from flask import Flask, g, request

from api.auth.provider_http import ProviderUnavailable, request_json
from api.concurrency_limiter import ON_ADMIN_PORT, ConcurrencyLimiter, waited_for_permit_s
from api.fair_queue import FairQueue
from api.services import permit_released
from tests.api.front_end import FrontEnd, problem
from worker.catalog.operations import Role

if TYPE_CHECKING:
    from redis import Redis
    from werkzeug.test import TestResponse

ORDINARY = frozenset({Role.USER})


@contextmanager
def request_of(roles: frozenset[Role] = ORDINARY, *, on_admin_port: bool = False) -> Iterator[None]:
    """The context of a request whose sender has these roles."""
    environ = {ON_ADMIN_PORT: True} if on_admin_port else {}
    token = {"Authorization": "Bearer " + " ".join(sorted(roles))}
    with Flask("test").test_request_context("/", headers=token, environ_overrides=environ):
        g.principal = SimpleNamespace(owner="ann", roles=roles)
        yield


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


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


def test_one_waits_until_the_other_has_ended(
    limiter: ConcurrencyLimiter, taken: tuple[threading.Event, threading.Event]
) -> None:
    assert not taken[1].is_set()
    limiter.release()
    assert taken[1].wait(20)


def test_who_waits_for_something_else_gives_the_permit_back(
    limiter: ConcurrencyLimiter, taken: tuple[threading.Event, threading.Event]
) -> None:
    limiter.pause()
    assert taken[1].wait(20)
    limiter.resume()


def test_nobody_waits_when_redis_fails(
    limiter: ConcurrencyLimiter, taken: tuple[threading.Event, threading.Event]
) -> None:
    limiter.bypass()
    assert taken[1].wait(20)
    # Nor does who comes later, although the permit is still taken.
    later = in_thread(lambda: _take_permit(limiter))
    later.join(4)
    assert not later.is_alive()


def test_a_request_for_which_redis_fails_lets_everybody_through(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, redis_client: Redis
) -> None:
    """Each of those behind it would wait for Redis as long."""
    opened = Mock()
    monkeypatch.setattr(ConcurrencyLimiter, "bypass", opened)
    for url, failures in ((redis_url, 0), ("redis://127.0.0.1:1/0", 1)):
        FrontEnd(url).client(Role.USER).get("/v4/jobs")
        assert opened.call_count == failures


@pytest.mark.parametrize(
    "passes", [lambda: request_of(frozenset({Role.ADMIN})), lambda: request_of(on_admin_port=True)]
)
def test_others_wait_for_nobody(
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


def test_no_more_than_some_wait(limiter: ConcurrencyLimiter, taken: tuple[threading.Event, threading.Event]) -> None:
    answers: Queue[bool] = Queue()

    def work() -> None:
        with request_of():
            answers.put(limiter.acquire(request.environ))
            limiter.release()

    # There is one place, and three that want it.
    threads = [in_thread(work) for _ in range(2)]
    assert answers.get(timeout=20) is False
    limiter.release()
    for thread in threads:
        thread.join(20)


def test_whose_permit_does_not_come_is_refused() -> None:
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
    # It has left nothing behind: the permit is free for the next one, and so is the place to wait for it.
    in_thread(work)
    assert answers.get(timeout=20) is True


def test_the_time_until_the_permit_counts_as_waited() -> None:
    limiter = ConcurrencyLimiter(1, 9, max_wait_s=0.05)
    with request_of():
        limiter.acquire(request.environ)
        threading.Thread(target=_begin_in_vain, args=(limiter, waited := Queue[float]())).start()
        assert waited.get(timeout=20) >= 0.05
        limiter.release()


def _begin_in_vain(limiter: ConcurrencyLimiter, waited: Queue[float]) -> None:
    with request_of():
        assert not limiter.acquire(request.environ)
        waited.put(waited_for_permit_s())


@pytest.mark.parametrize("somebody", [ORDINARY, frozenset({Role.ADMIN})])
def test_permits_cool_down_while_users_who_may_do_changes_are_active(
    somebody: frozenset[Role], monkeypatch: pytest.MonkeyPatch
) -> None:
    # However little a permit has computed.
    monkeypatch.setattr("api.concurrency_limiter._COOLDOWN_FACTOR", 1e9)
    rests: list[float] = []
    limiter = ConcurrencyLimiter(1, 9, sleep=rests.append)
    with request_of(somebody):
        limiter.identified()
        limiter.release()
    with request_of():
        limiter.acquire(request.environ)
        thread = threading.Thread(target=_take_permit, args=(limiter,))
        thread.start()
        while not limiter.waiting:
            sum(range(1000))
        limiter.release()
    thread.join(20)
    assert rests == ([] if somebody == ORDINARY else [0.25])


def test_who_comes_again_is_seen_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.concurrency_limiter._COOLDOWN_FACTOR", 1e9)
    monkeypatch.setattr("api.concurrency_limiter._ACTIVE_S", 0.0)
    rests: list[float] = []
    limiter, known = ConcurrencyLimiter(1, 9, sleep=rests.append), {"Cookie": "root's"}
    _identified(limiter, known, Role.ADMIN)
    monkeypatch.setattr("api.concurrency_limiter._ACTIVE_S", 60.0)
    assert _waits_for_nobody(limiter, known)
    with request_of():
        limiter.acquire(request.environ)
        thread = in_thread(lambda: _take_permit(limiter))
        while not limiter.waiting:
            sum(range(1000))
        limiter.release()
    thread.join(20)
    assert rests == [0.25]


def test_who_gets_no_permit_again_goes_on_without_one(
    limiter: ConcurrencyLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was begun is ended."""
    monkeypatch.setattr("api.concurrency_limiter._MAX_WAIT_AGAIN_S", 0.01)
    with request_of():
        limiter.acquire(request.environ)
        limiter.pause()
        other = Queue[bool]()
        in_thread(lambda: other.put(limiter.acquire({})))
        assert other.get(timeout=20)
        limiter.resume()
        assert limiter.acquire(request.environ)
        limiter.release()
    assert _free_permits(limiter) == 0


def _take_permit(limiter: ConcurrencyLimiter) -> None:
    with request_of():
        assert limiter.acquire(request.environ)
        limiter.release()


def test_every_request_gives_its_permit_back(redis_url: str, redis_client: Redis) -> None:
    front_end = FrontEnd(redis_url, user_groups=(), max_working=1, read_wait=0)
    stranger = front_end.stranger()
    paths = ["/v4/filer/volumes", "/v4/filer/volumes/none", "/v4/jobs", "/v4/nowhere/volumes", "/metrics", "/console/"]
    for path in [*paths, "/v3/nowhere/volumes", "/v4/filer/volumes/v?odd=1"]:
        stranger.get(path, headers={"Prefer": "respond-async"})
    stranger.post("/v4/filer/volumes/v", json={})
    front_end.client(Role.USER).post("/v4/batches", json={"requests": []})
    assert stranger.get("/v4/filer/export").status_code == 401
    assert in_time(lambda: stranger.get("/openapi.json"))


def test_who_finds_no_place_is_refused_with_a_problem(redis_url: str, redis_client: Redis) -> None:
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


def test_who_may_do_changes_waits_for_nobody_after_a_first_request(redis_url: str, redis_client: Redis) -> None:
    front_end = FrontEnd(redis_url, max_working=1)
    assert _answer(front_end, "/v4/jobs", Role.ADMIN).status_code == 200
    with front_end.services.concurrency_limiter.permit({}):
        assert _answer(front_end, "/v4/jobs", Role.ADMIN).status_code == 200


def test_a_request_of_a_request_leaves_it_its_permit(limiter: ConcurrencyLimiter) -> None:
    with limiter.permit({}):
        with limiter.permit({}):
            pass
        assert _free_permits(limiter) == 0
    assert _free_permits(limiter) == 1


def test_who_waits_for_something_has_a_permit_again_afterwards(redis_url: str, redis_client: Redis) -> None:
    front_end = FrontEnd(redis_url, max_working=1)
    limiter = front_end.services.concurrency_limiter
    for waiting in (permit_released, lambda: front_end.services.events.watch("job", end=False, has_slot=False)):
        with front_end.app().test_request_context("/"), limiter.permit(request.environ):
            with waiting():
                assert _free_permits(limiter) == 1
            assert _free_permits(limiter) == 0


def test_others_are_worked_on_while_the_sign_in_provider_is_waited_for(
    redis_url: str, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    front_end, free = FrontEnd(redis_url, max_working=1), list[int]()
    limiter = front_end.services.concurrency_limiter

    def ask(*_arguments: object, **_options: object) -> None:
        free.append(_free_permits(limiter))
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "request", ask)
    with front_end.app().test_request_context("/"), limiter.permit(request.environ):
        with pytest.raises(ProviderUnavailable):
            request_json("GET", "https://sso.example.org")
        assert (free, _free_permits(limiter)) == ([1], 0)


def test_each_sender_is_one_and_whoever_had_a_permit_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def acquire(_queue: FairQueue, sender: str, _timeout_s: float, *, again: bool = False) -> bool:
        asked.append((sender, again))
        return True

    monkeypatch.setattr(FairQueue, "acquire", acquire)
    monkeypatch.setattr(FairQueue, "release", lambda *_: None)
    limiter, known = ConcurrencyLimiter(1, 9), {"Cookie": "ann's"}
    _identified(limiter, known, Role.USER)
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


# --- who is believed to be known


def _waits_for_nobody(limiter: ConcurrencyLimiter, headers: dict[str, str]) -> bool:
    """Does a request with these headers go on while the only permit is taken, and the only place to wait, too?"""
    with Flask("test").test_request_context("/", headers=headers):
        went_on = limiter.acquire(request.environ)
        limiter.release()
    return went_on


def _identified(limiter: ConcurrencyLimiter, headers: dict[str, str], *roles: Role) -> None:
    with Flask("test").test_request_context("/", headers=headers):
        g.principal = SimpleNamespace(owner="ann", roles=frozenset(roles))
        limiter.identified()
        limiter.release()


@pytest.fixture
def nobody_may_wait() -> ConcurrencyLimiter:
    """All that is not known is refused."""
    return ConcurrencyLimiter(1, 0)


@pytest.mark.parametrize("header", ["Authorization", "Cookie"])
def test_who_was_seen_with_a_role_for_changes_is_known(nobody_may_wait: ConcurrencyLimiter, header: str) -> None:
    known, other = {header: "one"}, {header: "other"}
    _identified(nobody_may_wait, known, Role.USER, Role.ADMIN)
    assert _waits_for_nobody(nobody_may_wait, known)
    assert not _waits_for_nobody(nobody_may_wait, other)
    assert not _waits_for_nobody(nobody_may_wait, {})
    for loses_the_role in (other, known):
        _identified(nobody_may_wait, loses_the_role, Role.USER)
        assert not _waits_for_nobody(nobody_may_wait, loses_the_role)


def test_only_the_last_thousand_are_known(nobody_may_wait: ConcurrencyLimiter) -> None:
    for number in range(1001):
        _identified(nobody_may_wait, {"Cookie": str(number)}, Role.ADMIN)
        if number == 999:
            _identified(nobody_may_wait, {"Cookie": "0"}, Role.ADMIN)
    known = [_waits_for_nobody(nobody_may_wait, {"Cookie": str(number)}) for number in (0, 1, 2, 1000)]
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
        assert _free_permits(limiter) == 0
        limiter.release()
    assert _free_permits(limiter) == 1


def _free_permits(limiter: ConcurrencyLimiter) -> int:
    """How many permits are free; returns at once."""
    count = 0
    while limiter._queue.acquire("nobody", 0):
        count += 1
    for _ in range(count):
        limiter._queue.release()
    return count


def test_a_permit_is_given_back_once(limiter: ConcurrencyLimiter) -> None:
    with request_of():
        limiter.acquire(request.environ)
        limiter.pause()
        limiter.pause()
        assert _free_permits(limiter) == 1
        limiter.release()
        assert _free_permits(limiter) == 1
        limiter.acquire(request.environ)
        limiter.pause()
        limiter.resume()
        limiter.resume()
        assert _free_permits(limiter) == 0
        limiter.release()
        limiter.release()
    assert _free_permits(limiter) == 1
