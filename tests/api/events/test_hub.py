"""The thread that reads the event log for all streams of a process: how much in a row, and whom it wakes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
import redis
from flask.testing import FlaskClient

from api.events import _EXTENSION
from api.events import hub as hub_module
from api.events.audience import Audience, LiveEvent
from api.events.hub import EventHub
from tests.api.front_end import FrontEnd, accepted
from worker.jobs.event_log import Event, Position
from worker.jobs.query import JobFilter, JobScope

_EVERYBODY = Audience(JobScope(everybody=True), JobFilter())


class _Reader:
    """A stream that counts how often it is woken, and how often it skips events that are not for it."""

    audience = _EVERYBODY

    def __init__(self) -> None:
        self.woken = self.skipped = 0

    def wake(self) -> None:
        self.woken += 1

    def skip(self, before: Position, after: Position) -> None:
        self.skipped += 1

    def close(self) -> None:
        raise AssertionError


@pytest.fixture
def hub(redis_client: Any, redis_url: str) -> Iterator[EventHub]:
    """A hub whose thread does not run."""
    made: EventHub = FrontEnd(redis_url).app().extensions[_EXTENSION]
    made._thread = Mock()
    yield made
    made._readers.clear()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the hub pauses in the thread of the test, instead of pausing."""
    seconds: list[float] = []
    here = threading.get_ident()

    def sleep(duration_s: float) -> None:
        # The hub of an application whose stream is still open in another test has a thread of its own.
        if threading.get_ident() == here:
            seconds.append(duration_s)
        else:
            time.sleep(duration_s)

    monkeypatch.setattr(hub_module, "time", Mock(sleep=sleep))
    return seconds


def _changes(client: FlaskClient, count: int) -> None:
    for number in range(count):
        accepted(client.delete(f"/v4/filer/volumes/v{number}"))


def _numbers(events: list[LiveEvent]) -> list[int]:
    return [live.event.number for live in events]


def test_many_events_are_read_in_batches(
    hub: EventHub, client: FlaskClient, pauses: list[float], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hub_module, "_READ_AT_ONCE", 2)
    monkeypatch.setattr(hub_module, "_READ_BEFORE_WAKING", 4)
    begin = hub._log.tail()
    _changes(client, 7)
    first = hub._read_in_steps(begin)
    assert (_numbers(first), pauses) == ([1, 2, 3, 4], [hub_module._READ_APART_S])
    pauses.clear()
    rest = hub._read_in_steps(first[-1].event.position)
    assert (_numbers(rest), pauses) == ([5, 6, 7], [hub_module._READ_APART_S])


def test_without_new_events_the_position_stays(hub: EventHub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub_module, "_WAIT_MS", 1)
    hub._readers.add(_Reader())
    position = hub._log.tail()
    assert hub._read_next(position) == position


def test_a_wait_for_events_is_shorter_than_the_time_limit_of_its_connection(hub: EventHub):
    limits_s = [log._redis.get_connection_kwargs()["socket_timeout"] for log in (hub._log, hub._waiting)]
    assert limits_s[1] > 2 * hub_module._WAIT_MS / 1000
    assert limits_s[0] < limits_s[1]


def test_it_pauses_after_each_error_and_continues(hub: EventHub, pauses: list[float], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "_is_needed", Mock(side_effect=[True, True, True, True, False]))
    begin, later = hub._log.tail(), Position("5-5", 5)
    read = Mock(side_effect=[later, redis.ConnectionError, ValueError, later])
    monkeypatch.setattr(hub, "_read_next", read)
    hub._run()
    assert pauses == [hub_module._RETRY_S] * 2
    # From where it was: what came meanwhile is read, too.
    assert [call.args for call in read.call_args_list] == [(begin,), (later,), (later,), (later,)]


def test_its_thread_ends_after_the_last_stream_and_with_the_process(hub: EventHub):
    reader = _Reader()
    hub._readers.add(reader)
    assert hub._is_needed()
    hub.closing = True
    assert (hub._is_needed(), hub._thread) == (False, None)
    hub.closing = False
    hub.unregister(reader)
    assert not hub._is_needed()


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (hub_module._MANY_READERS, [0]),
        (
            hub_module._MANY_READERS + 1,
            [hub_module._LOOK_APART_S] + [hub_module._WAKE_APART_S] * (hub_module._MANY_READERS + 1),
        ),
    ],
)
def test_many_streams_are_woken_with_pauses_between_them(
    hub: EventHub, client: FlaskClient, pauses: list[float], count: int, expected: list[float]
):
    readers = [_Reader() for _ in range(count)]
    begin = hub._log.tail()
    _changes(client, 1)
    hub._notify([*readers], [live.event for live in hub.after(begin, 1)], begin)
    assert [reader.woken for reader in readers] == [1] * count
    assert pauses == expected


def test_an_event_of_an_unknown_operation_wakes_no_stream(hub: EventHub):
    reader = _Reader()
    hub._notify([reader], [Event(Position("1-0", 1), 1, None)], Position("0-0", 0))
    assert (reader.woken, reader.skipped) == (0, 1)


def test_the_number_of_events_in_memory_is_limited(hub: EventHub, client: FlaskClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub_module, "_MAX_RECENT", 2)
    _changes(client, 1)
    begin = hub._log.tail()
    _changes(client, 3)
    hub._read_next(begin)
    assert _numbers(list(hub._recent)) == [3, 4]
    read = Mock(side_effect=hub._log.read)
    monkeypatch.setattr(hub._log, "read", read)
    second = Position(hub._before.stream_id, 2) if hub._before else begin
    assert (_numbers(hub.after(second, 10)), read.mock_calls) == ([3, 4], [])
    assert _numbers(hub.after(Position(second.stream_id, None), 10)) == [3, 4]
    assert len(read.mock_calls) == 1


def test_events_before_a_gap_are_dropped_from_memory(hub: EventHub, client: FlaskClient, redis_client: redis.Redis):
    """The place of an event in memory is computed from its number: numbers in memory are consecutive."""
    _changes(client, 1)
    before = hub._read_next(Position("0-0", 0))
    _changes(client, 3)
    trimmed = hub._log.read(before, 1)[0].position
    redis_client.xdel("sapi:event_log", trimmed.stream_id)
    hub._read_next(before)
    assert _numbers(list(hub._recent)) == [3, 4]


def test_a_piece_for_streams_that_begin_later_is_made_once(
    hub: EventHub, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hub_module, "_MOST_PIECES", 1)
    _changes(client, 2)
    newest = hub._log.tail()
    first = hub.after(Position("0-0", 0), 1)[0].event.position
    of_a_gap = hub.next_piece(_EVERYBODY, first, is_gap=True)
    assert (b"event: gap" in of_a_gap.data, hub._pieces) == (True, {})
    hub.next_piece(_EVERYBODY, newest, is_gap=False)
    assert hub._pieces == {}
    piece = hub.next_piece(_EVERYBODY, first, is_gap=False)
    assert list(hub._pieces.values()) == [piece]
    _changes(client, 1)
    hub.next_piece(_EVERYBODY, newest, is_gap=False)
    assert list(hub._pieces.values()) == [piece]
