"""What streams are sent from memory and what they read from Redis, and that none is sent events of another user."""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import Mock

import pytest
from flask.testing import FlaskClient

from api import events
from api.events import hub as hub_module
from api.events import stream as stream_module
from api.events.audience import Audience
from api.jobs.listing import scope_of
from tests.api.events.listeners import Watcher, change, hub_of, listening, principal
from tests.api.front_end import FrontEnd
from tests.api.sse import EventParser
from worker.jobs.event_log import BEGINNING, Position
from worker.jobs.query import JobFilter

BODY = {"percentage_snapshot_reserve": 5}


class Asleep:
    """A reader that notes what the hub does to it."""

    def __init__(self, audience: Audience) -> None:
        self.audience = audience
        self.calls: list[Any] = []

    def wake(self) -> None:
        self.calls.append("wake")

    def skip(self, before: Position, after: Position) -> None:
        self.calls.append((before, after))

    def close(self) -> None:
        self.calls.append("close")


def test_a_reader_that_is_far_behind_reads_from_redis(front_end: FrontEnd, client: FlaskClient, monkeypatch: Any):
    ahead = Watcher(front_end, principal("ann"))
    behind = Watcher(front_end, principal("ann"))
    hub = hub_of(front_end)
    jobs = [change(client) for _ in range(12)]
    seen: list[str] = []
    while len(seen) < len(jobs):
        seen += ahead.seen()
    with hub._lock:
        while len(hub._recent) > 2:
            hub._before = hub._recent.popleft().event.position
    late: list[str] = []
    while len(late) < len(jobs):
        late += behind.seen()
    assert seen == late == jobs


def test_many_events_are_read_in_steps_and_sent_completely_and_in_order(client: FlaskClient, monkeypatch: Any):
    monkeypatch.setattr(hub_module, "_READ_AT_ONCE", 2)
    monkeypatch.setattr(hub_module, "_READ_BEFORE_WAKING", 5)
    with listening(client) as listener:
        jobs = [change(client) for _ in range(12)]
        assert listener.states(12) == [(job_id, "queued") for job_id in jobs]


def test_a_lost_log_is_distinguished_from_the_next_one(
    front_end: FrontEnd, client: FlaskClient, redis_client: Any, monkeypatch: Any
):
    before = Watcher(front_end, principal("ann"))
    lost = [change(client) for _ in range(3)]
    seen: list[str] = []
    while len(seen) < len(lost):
        seen += before.seen()
    redis_client.flushall()
    hub = hub_of(front_end)
    assert hub.after(hub.locate(None)[0], 10) == []
    after = Watcher(front_end, principal("ann"))
    kept = change(client)
    assert after.seen() == [kept]
    # From now on events are in memory for all.
    monkeypatch.setattr(hub._log, "read", Mock(side_effect=AssertionError))
    next_one = change(client)
    assert after.seen() == [next_one]


def test_a_position_of_another_log_is_looked_up_in_redis_and_not_in_memory(front_end: FrontEnd, client: FlaskClient):
    watcher = Watcher(front_end, principal("ann"))
    accepted_ids = [change(client, f"v{number}") for number in range(3)]
    seen: list[str] = []
    while len(seen) < len(accepted_ids):
        seen += watcher.seen()
    hub = hub_of(front_end)
    first, *others = hub.after(BEGINNING, 10)
    # A stream reads by itself what the thread that reads for all has not read yet.
    while len(hub.after(first.event.position, 10)) < len(others):
        time.sleep(0.01)
    assert [live.event for live in hub.after(first.event.position, 10)] == [live.event for live in others]
    # The same number under another id: the event of a log that was lost.
    foreign = Position("1-1", first.event.number)
    assert [live.event for live in hub.after(foreign, 10)] == [live.event for live in (first, *others)]


def test_events_of_one_user_are_not_sent_to_another(front_end: FrontEnd, client: FlaskClient):
    change(client)
    hub = hub_of(front_end)
    position, _ = hub.locate(None)
    job_id = change(client)
    ann, bob = (scope_of(principal(name), {}) for name in ("ann", "bob"))
    audiences = (Audience(ann, JobFilter()), Audience(bob, JobFilter()), Audience(ann, JobFilter(volume="other")))
    pieces = [hub.next_piece(audience, position, is_gap=False) for audience in audiences]
    assert [job_id.encode() in piece.data for piece in pieces] == [True, False, False]


def test_pieces_of_a_lost_log_are_not_sent_for_the_next_one(front_end: FrontEnd, client: FlaskClient):
    """Every log has the same beginning, where streams begin while it is empty."""
    hub, audience = hub_of(front_end), Audience(scope_of(principal("ann"), {}), JobFilter())
    position, is_gap = hub.locate(None)
    assert (position.stream_id, is_gap) == (BEGINNING.stream_id, False)
    sent = []
    for _ in range(2):
        job_id = change(client)
        piece = hub.next_piece(audience, position, is_gap=False)
        sent.append([event.data["id"] for event in EventParser().feed(piece.data)] == [job_id])
        front_end.services.redis.delete("sapi:event_log", "sapi:event_seq")
    assert sent == [True, True]


def test_each_piece_is_made_once_for_an_audience(front_end: FrontEnd, client: FlaskClient, monkeypatch: Any):
    """Whatever was sent before: with new events, earlier pieces are dropped."""
    monkeypatch.setattr(hub_module, "_MOST_PIECES", 1)
    change(client)
    hub, audience = hub_of(front_end), Audience(scope_of(principal("ann"), {}), JobFilter())
    position, _ = hub.locate(None)
    for _ in range(3):
        job_id = change(client)
        position, before = hub._read_next(position), position
        first, second = (hub.next_piece(audience, before, is_gap=False) for _ in range(2))
        assert (first is second, job_id.encode() in first.data) == (True, True)


def test_a_stream_that_sees_some_of_the_new_events_is_woken_and_skips_none(front_end: FrontEnd, client: FlaskClient):
    change(client)
    hub = hub_of(front_end)
    position, _ = hub.locate(None)
    for volume in ("one", "two", "three"):
        change(client, volume)
    events = [live.event for live in hub.after(position, 10)]
    readers = [Asleep(Audience(scope_of(principal("ann"), {}), JobFilter(volume=name))) for name in ("two", "four")]
    hub._notify([*readers], events, position)
    assert [reader.calls for reader in readers] == [["wake"], [(position, events[-1].position)]]


def test_an_event_between_two_skipped_ranges_is_sent(front_end: FrontEnd, client: FlaskClient):
    watcher = Watcher(front_end, principal("ann"))
    hub = hub_of(front_end)
    begin, _ = hub.locate(None)
    jobs = [change(client, volume) for volume in ("one", "two", "three")]
    first, second, third = (live.event.position for live in hub.after(begin, 10))
    watcher.stream.skip(begin, first)
    watcher.stream.skip(second, third)
    watcher.pass_s(stream_module._HEARTBEAT_S)
    assert watcher.seen() == jobs


def test_adjacent_skipped_ranges_are_skipped_at_once(front_end: FrontEnd, client: FlaskClient):
    watcher = Watcher(front_end, principal("ann"))
    hub = hub_of(front_end)
    begin, _ = hub.locate(None)
    jobs = [change(client, volume) for volume in ("one", "two", "three")]
    first, second, _ = (event.position for event in hub._log.read(begin, 10))
    while not hub.after(second, 10):
        time.sleep(0.01)  # The thread that reads for all has not come to the third.
    # This stream has not been woken for any of the three.
    hub.unregister(watcher.stream)
    watcher.stream.skip(begin, first)
    watcher.stream.skip(first, second)
    watcher.pass_s(stream_module._HEARTBEAT_S)
    assert watcher.seen() == jobs[2:]


def test_a_stream_that_is_closed_ends(front_end: FrontEnd):
    watcher = Watcher(front_end, principal("ann"))
    watcher.stream.close()
    with pytest.raises(StopIteration):
        next(watcher.stream)


def test_a_large_piece_is_split(front_end: FrontEnd, client: FlaskClient, monkeypatch: Any):
    monkeypatch.setattr("api.events.audience._PIECE_BYTES", 1)
    position, _ = hub_of(front_end).locate(None)
    jobs = [change(client) for _ in range(3)]
    audience, seen = Audience(scope_of(principal("ann"), {}), JobFilter()), []
    while (piece := hub_of(front_end).next_piece(audience, position, is_gap=False)).more:
        position = piece.position
        seen.append([event.data["id"] for event in EventParser().feed(piece.data)])
    assert seen == [[job_id] for job_id in jobs]


def test_a_stream_opened_after_all_others_have_ended_is_served(redis_client: Any, redis_url: str, monkeypatch: Any):
    monkeypatch.setattr(hub_module, "_WAIT_MS", 20)
    front_end = FrontEnd(redis_url)
    client = front_end.client()
    reading: list[Any] = []
    for _ in range(2):
        with listening(client) as listener:
            reading.append(hub_of(front_end)._thread)
            job_id = change(client)
            assert listener.states(1) == [(job_id, "queued")]
        reading[-1].join(20)
    # One thread for each: without it, events would come only with the next check of what the client may see.
    assert [thread.is_alive() for thread in set(reading)] == [False, False]


def test_all_streams_end_when_the_process_does(redis_client: Any, redis_url: str):
    front_end = FrontEnd(redis_url)
    client = front_end.client()
    with listening(client) as listener:
        events.end_streams(front_end.app())
        with pytest.raises(StopIteration):
            listener.next()
