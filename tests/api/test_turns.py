"""Requests of ordinary users are worked on in turns; nobody else waits for them."""

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
from api.services import turn_paused
from api.turn_queue import TurnQueue
from api.turns import ON_ADMIN_PORT, Turns, waited_for_turn_s
from tests.api.front import Front, problem
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
def turns() -> Turns:
    return Turns(1, 1)


@pytest.fixture
def taken(turns: Turns) -> Iterator[tuple[threading.Event, threading.Event]]:
    """A second request of an ordinary user, in a thread of its own: that it begins, and that it has its turn."""
    begins, has_turn = threading.Event(), threading.Event()

    def work() -> None:
        with request_of():
            begins.set()
            if turns.begin(request.environ):
                has_turn.set()
            turns.end()

    with request_of():
        turns.begin(request.environ)
        thread = in_thread(work)
        assert begins.wait(20)
        yield begins, has_turn
        turns.end()
    thread.join(20)
    assert has_turn.is_set()


def test_one_waits_until_the_other_has_ended(turns: Turns, taken: tuple[threading.Event, threading.Event]) -> None:
    assert not taken[1].is_set()
    turns.end()
    assert taken[1].wait(20)


def test_who_waits_for_something_else_gives_the_turn_back(
    turns: Turns, taken: tuple[threading.Event, threading.Event]
) -> None:
    turns.pause()
    assert taken[1].wait(20)
    turns.resume()


def test_nobody_waits_when_redis_fails(turns: Turns, taken: tuple[threading.Event, threading.Event]) -> None:
    turns.open()
    assert taken[1].wait(20)
    # Nor does who comes later, although the turn is still taken.
    later = in_thread(lambda: _take_turn(turns))
    later.join(4)
    assert not later.is_alive()


def test_a_request_for_which_redis_fails_lets_everybody_through(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, redis_client: Redis
) -> None:
    """Each of those behind it would wait for Redis as long."""
    opened = Mock()
    monkeypatch.setattr(Turns, "open", opened)
    for url, failures in ((redis_url, 0), ("redis://127.0.0.1:1/0", 1)):
        Front(url).client(Role.USER).get("/v4/jobs")
        assert opened.call_count == failures


@pytest.mark.parametrize(
    "passes", [lambda: request_of(frozenset({Role.ADMIN})), lambda: request_of(on_admin_port=True)]
)
def test_others_wait_for_nobody(
    turns: Turns, taken: tuple[threading.Event, threading.Event], passes: Callable[[], AbstractContextManager[None]]
) -> None:
    answers: Queue[bool] = Queue()

    def work() -> None:
        with request_of(frozenset({Role.ADMIN})):
            turns.identified()
        with passes():
            answers.put(turns.begin(request.environ))
            turns.end()

    in_thread(work)
    assert answers.get(timeout=20) is True
    assert not taken[1].is_set()


def test_no_more_than_some_wait(turns: Turns, taken: tuple[threading.Event, threading.Event]) -> None:
    answers: Queue[bool] = Queue()

    def work() -> None:
        with request_of():
            answers.put(turns.begin(request.environ))
            turns.end()

    # There is one place, and three that want it.
    threads = [in_thread(work) for _ in range(2)]
    assert answers.get(timeout=20) is False
    turns.end()
    for thread in threads:
        thread.join(20)


def test_whose_turn_does_not_come_is_refused() -> None:
    turns = Turns(1, 1, longest_s=0.05)
    answers: Queue[bool] = Queue()

    def work() -> None:
        with request_of():
            answers.put(turns.begin(request.environ))
            turns.end()

    with request_of():
        turns.begin(request.environ)
        in_thread(work)
        assert answers.get(timeout=20) is False
        turns.end()
    # It has left nothing behind: the turn is free for the next one, and so is the place to wait for it.
    in_thread(work)
    assert answers.get(timeout=20) is True


def test_the_time_until_the_turn_counts_as_waited() -> None:
    turns = Turns(1, 9, longest_s=0.05)
    with request_of():
        turns.begin(request.environ)
        threading.Thread(target=_begin_in_vain, args=(turns, waited := Queue[float]())).start()
        assert waited.get(timeout=20) >= 0.05
        turns.end()


def _begin_in_vain(turns: Turns, waited: Queue[float]) -> None:
    with request_of():
        assert not turns.begin(request.environ)
        waited.put(waited_for_turn_s())


@pytest.mark.parametrize("somebody", [ORDINARY, frozenset({Role.ADMIN})])
def test_turns_rest_while_users_who_may_do_changes_are_there(
    somebody: frozenset[Role], monkeypatch: pytest.MonkeyPatch
) -> None:
    # However little a turn has computed.
    monkeypatch.setattr("api.turns._REST", 1e9)
    rests: list[float] = []
    turns = Turns(1, 9, sleep=rests.append)
    with request_of(somebody):
        turns.identified()
        turns.end()
    with request_of():
        turns.begin(request.environ)
        thread = threading.Thread(target=_take_turn, args=(turns,))
        thread.start()
        while not turns.waiting:
            sum(range(1000))
        turns.end()
    thread.join(20)
    assert rests == ([] if somebody == ORDINARY else [0.25])


def test_who_comes_again_is_seen_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.turns._REST", 1e9)
    monkeypatch.setattr("api.turns._URGENT_S", 0.0)
    rests: list[float] = []
    turns, known = Turns(1, 9, sleep=rests.append), {"Cookie": "root's"}
    _identified(turns, known, Role.ADMIN)
    monkeypatch.setattr("api.turns._URGENT_S", 60.0)
    assert _waits_for_nobody(turns, known)
    with request_of():
        turns.begin(request.environ)
        thread = in_thread(lambda: _take_turn(turns))
        while not turns.waiting:
            sum(range(1000))
        turns.end()
    thread.join(20)
    assert rests == [0.25]


def test_who_gets_no_turn_again_goes_on_without_one(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was begun is ended."""
    monkeypatch.setattr("api.turns._LONGEST_AGAIN_S", 0.01)
    with request_of():
        turns.begin(request.environ)
        turns.pause()
        other = Queue[bool]()
        in_thread(lambda: other.put(turns.begin({})))
        assert other.get(timeout=20)
        turns.resume()
        assert turns.begin(request.environ)
        turns.end()
    assert _free_turns(turns) == 0


def _take_turn(turns: Turns) -> None:
    with request_of():
        assert turns.begin(request.environ)
        turns.end()


def test_every_request_gives_its_turn_back(redis_url: str, redis_client: Redis) -> None:
    front = Front(redis_url, user_groups=(), max_working=1, read_wait=0)
    stranger = front.stranger()
    paths = ["/v4/filer/volumes", "/v4/filer/volumes/none", "/v4/jobs", "/v4/nowhere/volumes", "/metrics", "/console/"]
    for path in [*paths, "/v3/nowhere/volumes", "/v4/filer/volumes/v?odd=1"]:
        stranger.get(path, headers={"Prefer": "respond-async"})
    stranger.post("/v4/filer/volumes/v", json={})
    front.client(Role.USER).post("/v4/batches", json={"requests": []})
    assert stranger.get("/v4/filer/export").status_code == 401
    assert in_time(lambda: stranger.get("/openapi.json"))


def test_who_finds_no_place_is_refused_with_a_problem(redis_url: str, redis_client: Redis) -> None:
    front = Front(redis_url, user_groups=(), max_working=1, max_queued=1, read_wait=0)
    turns, stranger = front.services.turns, front.stranger()
    with turns.taken({}):
        waits = in_thread(lambda: stranger.get("/openapi.json"))
        while not turns.waiting:
            assert waits.is_alive()
        assert problem(_answer(front, "/openapi.json"), 429, "rate-limited")["limit"] == "SAPI_MAX_QUEUED"
        assert [_answer(front, path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
    waits.join(20)
    assert not waits.is_alive()


def _answer(front: Front, path: str, *roles: Role) -> TestResponse:
    """What a request in a thread of its own is answered with."""
    client = front.client(*roles) if roles else front.stranger()
    answers: Queue[TestResponse] = Queue()
    in_thread(lambda: answers.put(client.get(path)))
    return answers.get(timeout=20)


def test_who_may_do_changes_waits_for_nobody_after_a_first_request(redis_url: str, redis_client: Redis) -> None:
    front = Front(redis_url, max_working=1)
    assert _answer(front, "/v4/jobs", Role.ADMIN).status_code == 200
    with front.services.turns.taken({}):
        assert _answer(front, "/v4/jobs", Role.ADMIN).status_code == 200


def test_a_request_of_a_request_leaves_it_its_turn(turns: Turns) -> None:
    with turns.taken({}):
        with turns.taken({}):
            pass
        assert _free_turns(turns) == 0
    assert _free_turns(turns) == 1


def test_who_waits_for_something_has_a_turn_again_afterwards(redis_url: str, redis_client: Redis) -> None:
    front = Front(redis_url, max_working=1)
    turns = front.services.turns
    for waiting in (turn_paused, lambda: front.services.events.watch("job", end=False, has_slot=False)):
        with front.app().test_request_context("/"), turns.taken(request.environ):
            with waiting():
                assert _free_turns(turns) == 1
            assert _free_turns(turns) == 0


def test_others_are_worked_on_while_the_sign_in_provider_is_waited_for(
    redis_url: str, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    front, free = Front(redis_url, max_working=1), list[int]()
    turns = front.services.turns

    def ask(*_arguments: object, **_options: object) -> None:
        free.append(_free_turns(turns))
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "request", ask)
    with front.app().test_request_context("/"), turns.taken(request.environ):
        with pytest.raises(ProviderUnavailable):
            request_json("GET", "https://sso.example.org")
        assert (free, _free_turns(turns)) == ([1], 0)


def test_each_sender_is_one_and_whoever_had_a_turn_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def acquire(_queue: TurnQueue, sender: str, _timeout_s: float, *, again: bool = False) -> bool:
        asked.append((sender, again))
        return True

    monkeypatch.setattr(TurnQueue, "acquire", acquire)
    monkeypatch.setattr(TurnQueue, "release", lambda *_: None)
    turns, known = Turns(1, 9), {"Cookie": "ann's"}
    _identified(turns, known, Role.USER)
    for headers in ({}, {"Cookie": "nobody's"}, known):
        with Flask("test").test_request_context("/", headers=headers):
            turns.begin(request.environ)
            turns.pause()
            turns.resume()
            turns.end()
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


def _waits_for_nobody(turns: Turns, headers: dict[str, str]) -> bool:
    """Does a request with these headers go on while the only turn is taken, and the only place to wait, too?"""
    with Flask("test").test_request_context("/", headers=headers):
        went_on = turns.begin(request.environ)
        turns.end()
    return went_on


def _identified(turns: Turns, headers: dict[str, str], *roles: Role) -> None:
    with Flask("test").test_request_context("/", headers=headers):
        g.principal = SimpleNamespace(owner="ann", roles=frozenset(roles))
        turns.identified()
        turns.end()


@pytest.fixture
def nobody_may_wait() -> Turns:
    """All that is not known is refused."""
    return Turns(1, 0)


@pytest.mark.parametrize("header", ["Authorization", "Cookie"])
def test_who_was_seen_with_a_role_for_changes_is_known(nobody_may_wait: Turns, header: str) -> None:
    known, other = {header: "one"}, {header: "other"}
    _identified(nobody_may_wait, known, Role.USER, Role.ADMIN)
    assert _waits_for_nobody(nobody_may_wait, known)
    assert not _waits_for_nobody(nobody_may_wait, other)
    assert not _waits_for_nobody(nobody_may_wait, {})
    for loses_the_role in (other, known):
        _identified(nobody_may_wait, loses_the_role, Role.USER)
        assert not _waits_for_nobody(nobody_may_wait, loses_the_role)


def test_only_the_last_thousand_are_known(nobody_may_wait: Turns) -> None:
    for number in range(1001):
        _identified(nobody_may_wait, {"Cookie": str(number)}, Role.ADMIN)
        if number == 999:
            _identified(nobody_may_wait, {"Cookie": "0"}, Role.ADMIN)
    known = [_waits_for_nobody(nobody_may_wait, {"Cookie": str(number)}) for number in (0, 1, 2, 1000)]
    assert known == [True, False, True, True]


def test_who_turns_out_to_may_do_changes_gives_the_turn_back(
    turns: Turns, taken: tuple[threading.Event, threading.Event]
) -> None:
    g.principal = SimpleNamespace(owner="root", roles=frozenset({Role.ADMIN}))
    turns.identified()
    assert taken[1].wait(20)


def test_who_turns_out_to_be_an_ordinary_user_takes_a_turn(turns: Turns) -> None:
    with request_of():
        turns.identified()
        assert _free_turns(turns) == 0
        turns.end()
    assert _free_turns(turns) == 1


def _free_turns(turns: Turns) -> int:
    """How many turns are free; asked without waiting for one."""
    count = 0
    while turns._queue.acquire("nobody", 0):
        count += 1
    for _ in range(count):
        turns._queue.release()
    return count


def test_a_turn_is_given_back_once(turns: Turns) -> None:
    with request_of():
        turns.begin(request.environ)
        turns.pause()
        turns.pause()
        assert _free_turns(turns) == 1
        turns.end()
        assert _free_turns(turns) == 1
        turns.begin(request.environ)
        turns.pause()
        turns.resume()
        turns.resume()
        assert _free_turns(turns) == 0
        turns.end()
        turns.end()
    assert _free_turns(turns) == 1
