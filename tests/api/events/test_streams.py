"""One stream by itself: whose events it shows, when that is checked, and when it ends."""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import Mock

import pytest
from flask.testing import FlaskClient

from api import auth
from api.auth import Principal
from api.events import stream as stream_module
from api.http.problems import Problem
from api.resources import events as events_resource
from tests.api.events.listeners import Watcher, change, hub_of, listening, principal
from tests.api.front_end import FrontEnd, accepted
from tests.api.sse import EventParser
from worker.catalog.operations import Role

BODY = {"percentage_snapshot_reserve": 5}


@pytest.mark.parametrize(
    ("who", "everybody", "sees"),
    [
        (principal("ann"), False, True),
        (principal("bob", Role.UBER_ADMIN), False, False),
        (principal("bob", Role.USER), True, False),
        (principal("bob", Role.ADMIN), True, False),
        # PATCH is UBER_ADMIN's.
        (principal("bob", Role.UBER_ADMIN), True, True),
        (principal(""), True, False),
    ],
)
def test_events_are_sent_to_clients_that_may_see_the_job(
    front_end: FrontEnd, client: FlaskClient, who: Principal, everybody: bool, sees: bool
):
    watcher = Watcher(front_end, who, all=everybody)
    job_id = change(client)
    watcher.pass_s(stream_module._HEARTBEAT_S)
    assert watcher.seen() == ([job_id] if sees else [])


def test_with_all_the_role_of_an_operation_shows_jobs_of_others(front_end: FrontEnd, client: FlaskClient):
    watcher = Watcher(front_end, principal("bob", Role.ADMIN), all=True)
    change(client)
    path = accepted(client.post("/v4/filer/volumes/vol/snapshots/s", json={}))
    assert watcher.seen() == [path.rpartition("/")[2]]


def test_an_idle_stream_wakes_for_its_next_check(front_end: FrontEnd, client: FlaskClient):
    watcher = Watcher(front_end, principal("ann"))
    assert change(client) in watcher.seen()
    assert 0 < watcher.stream._idle_s() <= stream_module._CHECK_EVERY_S


def test_events_end_when_the_role_is_removed(front_end: FrontEnd, client: FlaskClient):
    watcher = Watcher(front_end, principal("bob", Role.UBER_ADMIN), all=True)
    before = change(client)
    assert watcher.seen() == [before]
    watcher.who = principal("bob", Role.USER)
    watcher.pass_s(stream_module._CHECK_EVERY_S)
    change(client)
    watcher.pass_s(stream_module._HEARTBEAT_S)
    assert watcher.seen() == []


def test_comments_are_sent_at_a_fixed_interval(front_end: FrontEnd, monkeypatch: Any):
    watcher, hub = Watcher(front_end, principal("ann")), hub_of(front_end)
    watcher.pass_s(stream_module._HEARTBEAT_S)
    assert watcher.seen() == []
    next_piece = hub.next_piece

    def look(*arguments: Any, **options: Any) -> Any:
        watcher.pass_s(stream_module._HEARTBEAT_S / 2)
        return next_piece(*arguments, **options)

    monkeypatch.setattr(hub, "next_piece", look)
    assert (watcher.seen(), watcher.now_s) == ([], 2 * stream_module._HEARTBEAT_S)


def test_events_that_arrive_during_a_read_are_sent_at_once(front_end: FrontEnd, client: FlaskClient, monkeypatch: Any):
    watcher, hub = Watcher(front_end, principal("ann")), hub_of(front_end)
    # Nobody else wakes it.
    hub.unregister(watcher.stream)
    next_piece, news, made = hub.next_piece, watcher.stream._news, list[str]()

    def look(*arguments: Any, **options: Any) -> Any:
        piece = next_piece(*arguments, **options)
        if not made:
            made.append(change(client))
            watcher.stream.wake()
        return piece

    is_set_at_wait = []
    monkeypatch.setattr(hub, "next_piece", look)
    monkeypatch.setattr(news, "wait", lambda _seconds: is_set_at_wait.append(news.is_set()))
    assert watcher.seen() == made
    assert is_set_at_wait == [True]


def test_the_stream_ends_when_its_client_is_signed_out(front_end: FrontEnd, client: FlaskClient):
    watcher = Watcher(front_end, principal("ann"))
    assert change(client) in watcher.seen()
    watcher.who = None
    watcher.pass_s(stream_module._CHECK_EVERY_S)
    change(client)
    with pytest.raises(StopIteration):
        next(watcher.stream)


def test_the_stream_ends_after_its_maximum_duration(front_end: FrontEnd, client: FlaskClient):
    watcher = Watcher(front_end, principal("ann"))
    assert change(client) in watcher.seen()
    watcher.pass_s(61)
    with pytest.raises(StopIteration):
        next(watcher.stream)


def test_a_session_that_was_ended_ends_its_stream(front_end: FrontEnd, monkeypatch: Any):
    monkeypatch.setattr(stream_module, "_CHECK_EVERY_S", 0.05)
    client = front_end.app().test_client()
    client.get("/login")
    with listening(client) as listener:
        job_id = change(client)
        assert listener.states(1) == [(job_id, "queued")]
        assert client.get("/logout").status_code < 400
        with pytest.raises(StopIteration):
            listener.next()


@pytest.mark.parametrize("code", ["queue-unavailable", "sign-in-unavailable"])
def test_a_stream_continues_while_its_session_cannot_be_checked(client: FlaskClient, monkeypatch: Any, code: str):
    monkeypatch.setattr(stream_module, "_RETRY_S", 0.01)
    clock = Mock(wraps=time)
    monkeypatch.setattr(stream_module, "time", clock)
    refusals = [Problem(code, "away")]

    def find() -> Principal:
        if refusals:
            raise refusals.pop()
        return auth.principal()

    monkeypatch.setattr(events_resource, "principal", find)
    with listening(client) as listener:
        job_id = change(client)
        assert listener.states(1) == [(job_id, "queued")]
        assert refusals == []
    clock.sleep.assert_called_once_with(0.01)


def test_an_idle_stream_sends_comments_with_its_position(front_end: FrontEnd, client: FlaskClient):
    watcher = Watcher(front_end, principal("bob"))
    change(client)
    parser = EventParser()
    watcher.pass_s(stream_module._HEARTBEAT_S)
    assert list(parser.feed(next(watcher.stream))) == []
    assert parser.comments == 1
    assert parser.last_id == str(hub_of(front_end).locate(None)[0])
