"""The event stream: who sees which jobs, from where it goes on, and when it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from unittest.mock import Mock

import pytest
from flask.testing import FlaskClient

from api import auth, events
from api.auth import Principal
from api.events import _EXTENSION
from api.events import hub as hub_module
from api.events import stream as stream_module
from api.events.audience import Audience, LiveEvent
from api.events.hub import EventHub
from api.events.stream import EventStream, Start
from api.http.problems import Problem
from api.jobs.listing import scope_of
from api.resources import events as events_resource
from tests.api.front_end import FrontEnd, Worker, accepted, pointers, problem
from tests.api.sse import EventParser, ServerEvent
from worker.catalog.operations import Role
from worker.jobs.event_log import BEGINNING, EventLog, Position
from worker.jobs.query import JobFilter

VOLUME = "/v4/filer/volumes/vol"
BODY = {"percentage_snapshot_reserve": 5}


def change(client: FlaskClient, volume: str = "vol") -> str:
    """Submit a change; the id of its job."""
    return accepted(client.patch(f"/v4/filer/volumes/{volume}", json=BODY)).rpartition("/")[2]


class Listener:
    """A client of the stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.parser = EventParser()
        self._pieces = pieces
        self._events: list[ServerEvent] = []

    def next(self) -> ServerEvent:
        """The next event."""
        while not self._events:
            self._events += self.parser.feed(next(self._pieces))
        return self._events.pop(0)

    def states(self, count: int) -> list[tuple[str, str]]:
        """Id and state of so many events."""
        return [(event.data["id"], event.data["state"]) for event in (self.next() for _ in range(count))]


@contextmanager
def listening(client: FlaskClient, query: str = "", last_id: str | None = None, **options: Any) -> Iterator[Listener]:
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    with client.get(f"/v4/events{query}", headers=headers, buffered=False, **options) as response:
        assert response.status_code == 200, response.data
        assert response.content_type == "text/event-stream"
        # A proxy that holds it back, or a cache that keeps it, would make it useless.
        assert (response.headers["X-Accel-Buffering"], response.headers["Cache-Control"]) == ("no", "no-store")
        listener = Listener(response.iter_encoded())
        # The first piece says where the stream is.
        assert list(listener.parser.feed(next(listener._pieces))) == []
        yield listener


def hub_of(front_end: FrontEnd) -> EventHub:
    hub: EventHub = front_end.app().extensions[_EXTENSION]
    return hub


def test_each_change_of_a_job_is_an_event_with_the_job_but_its_result(
    front_end: FrontEnd, client: FlaskClient, worker: Worker
):
    with listening(client) as listener:
        path = accepted(client.post("/v4/filer/volumes/new", json={"size_total": 2**30}))
        job_id = path.rpartition("/")[2]
        worker.carry_out(path)
        seen = [listener.next()]
        while not seen[-1].data["done"]:
            seen.append(listener.next())
    assert {event.kind for event in seen} == {"job"}
    assert list(dict.fromkeys(event.data["state"] for event in seen)) == [
        "queued",
        "running",
        "succeeded",
    ]
    document = client.get(path).json
    assert document is not None
    assert document["result"].pop("value")
    assert seen[-1].data == document
    assert {event.data["id"] for event in seen} == {job_id}


def test_links_lead_below_the_prefix_of_each_client(client: FlaskClient):
    """Also of what one of them has not heard yet, and reads from Redis."""
    below: dict[str, Any] = {"base_url": "http://localhost/below"}
    with listening(client) as plain, listening(client, **below) as prefixed:
        change(client)
        links = [stream.next().data["links"] for stream in (plain, prefixed)]
    with listening(client, last_id="0-0", **below) as late:
        late.next()
        links.append(late.next().data["links"])
    path = links[0]["self"]
    assert path.startswith("/v4/jobs/")
    assert [each["self"] for each in links] == [path, f"/below{path}", f"/below{path}"]
    assert links[1]["result"] == f"/below{path}/result"


def test_events_are_written_in_advance_for_the_prefixes_of_present_streams(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
):
    """A crowd of streams then only copies them."""
    in_advance, write = threading.Event(), LiveEvent._written

    def recording(live: LiveEvent, prefix: str) -> bytes:
        if (threading.current_thread().name, prefix) == ("event-hub", "/below"):
            in_advance.set()
        return write(live, prefix)

    with listening(client, base_url="http://localhost/below") as prefixed:
        change(client, "first")
        prefixed.next()
        monkeypatch.setattr(LiveEvent, "_written", recording)
        change(client, "second")
        assert in_advance.wait(20)
        assert prefixed.next().data["links"]["self"].startswith("/below/")


def test_an_event_is_written_once_for_each_prefix(front_end: FrontEnd, client: FlaskClient):
    job_id = change(client)
    live = LiveEvent(EventLog(front_end.services.redis, "sapi:").read(BEGINNING, 1)[0])
    for prefix in ("", "/below", ""):
        assert f'"self":"{prefix}/v4/jobs/{job_id}"'.encode() in live.text(prefix)
    assert live.text("/below") is live.text("/below")


def test_an_empty_id_is_none(client: FlaskClient):
    change(client, "before")
    with listening(client, last_id="") as listener:
        after = change(client, "after")
        assert listener.states(1) == [(after, "queued")]


def test_a_stream_begins_now(client: FlaskClient):
    change(client)
    with listening(client) as listener:
        later = change(client)
        assert listener.states(1) == [(later, "queued")]


def test_it_goes_on_where_it_broke_without_a_gap_or_a_double(client: FlaskClient):
    with listening(client) as listener:
        first, second = change(client), change(client)
        event = listener.next()
        assert event.data["id"] == first
    third = change(client)
    with listening(client, last_id=event.last_id) as listener:
        fourth = change(client)
        assert listener.states(3) == [(second, "queued"), (third, "queued"), (fourth, "queued")]


def test_one_that_broke_before_its_first_event_misses_nothing(client: FlaskClient):
    with listening(client) as listener:
        at = listener.parser.last_id
    missed = change(client)
    with listening(client, last_id=at) as listener:
        assert listener.states(1) == [(missed, "queued")]


def test_what_is_kept_no_longer_is_told_as_one_gap(front_end: FrontEnd, client: FlaskClient):
    with listening(client) as listener:
        first = change(client)
        last_id = listener.next().last_id
    change(client)
    EventLog(front_end.services.redis, front_end.settings.key_prefix).trim(-5)
    third, fourth = change(client), change(client)
    with listening(client, last_id=last_id) as listener:
        gap = listener.next()
        assert gap.kind == "gap"
        assert listener.states(2) == [(third, "queued"), (fourth, "queued")]
    # Whoever got no further than the gap does not get it again.
    with listening(client, last_id=gap.last_id) as listener:
        assert listener.states(1) == [(third, "queued")]
    assert first != third


def test_nothing_is_missing_where_what_is_kept_no_longer_was_seen(front_end: FrontEnd, client: FlaskClient):
    with listening(client) as listener:
        change(client)
        last_id = listener.next().last_id
    EventLog(front_end.services.redis, front_end.settings.key_prefix).trim(-5)
    with listening(client, last_id=last_id) as listener:
        later = change(client)
        assert listener.states(1) == [(later, "queued")]


def test_events_that_are_all_gone_are_a_gap_at_once(front_end: FrontEnd, client: FlaskClient):
    with listening(client) as listener:
        last_id = listener.parser.last_id
    change(client)
    EventLog(front_end.services.redis, front_end.settings.key_prefix).trim(-5)
    with listening(client, last_id=last_id) as listener:
        assert listener.next().kind == "gap"


@pytest.mark.parametrize("last_id", ["nonsense", "99999999999999-0-99999"])
def test_an_id_of_no_event_is_a_gap_before_all_that_is_kept(client: FlaskClient, last_id: str):
    kept = change(client)
    with listening(client, last_id=last_id) as listener:
        assert listener.next().kind == "gap"
        assert listener.states(1) == [(kept, "queued")]
        # The gap is reported once.
        later = change(client)
        assert listener.states(1) == [(later, "queued")]


def test_the_filters_of_the_job_list_choose(client: FlaskClient):
    with listening(client, "?volume=two&state=queued,succeeded&created_after=2020-01-01T00:00:00Z") as listener:
        change(client, "one")
        two = change(client, "two")
        change(client, "one")
        again = change(client, "two")
        assert listener.states(2) == [(two, "queued"), (again, "queued")]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [("?limit=3", "/limit"), ("?nonsense=1", "/nonsense"), ("?state=odd", "/state"), ("?all=1", "/all")],
)
def test_a_query_is_checked(client: FlaskClient, query: str, pointer: str):
    assert pointers(problem(client.get(f"/v4/events{query}"), 422, "validation-failed")) == [pointer]


def test_strangers_are_asked_to_sign_in(front_end: FrontEnd):
    problem(front_end.stranger().get("/v4/events"), 401, "unauthenticated")


def test_a_head_request_takes_no_place(front_end: FrontEnd, client: FlaskClient):
    answer = client.head("/v4/events")
    assert answer.content_type == "text/event-stream"
    # The response to GET has none.
    assert "Content-Length" not in answer.headers


def test_more_streams_than_there_may_be_are_refused_until_one_ends(redis_client: Any, redis_url: str):
    client = FrontEnd(redis_url, max_streams=2).client()
    with listening(client), listening(client):
        response = client.get("/v4/events")
        problem(response, 503, "too-many-streams")
        assert int(response.headers["Retry-After"]) > 0
    with listening(client) as listener:
        later = change(client)
        assert listener.states(1) == [(later, "queued")]


def test_one_user_who_may_change_nothing_takes_a_share_of_them(redis_client: Any, redis_url: str):
    front_end = FrontEnd(redis_url, max_streams=5)
    reader = front_end.client(Role.USER)
    with listening(reader), listening(reader):
        assert problem(reader.get("/v4/events"), 503, "too-many-streams")["limit"] == "SAPI_MAX_STREAMS"
    with listening(reader), listening(front_end.client()), listening(front_end.client()), listening(front_end.client()):
        pass


def test_a_stream_lives_as_long_as_is_configured(redis_client: Any, redis_url: str, monkeypatch: Any):
    lives_s: list[float] = []

    def stream(*arguments: Any, max_s: float) -> EventStream:
        lives_s.append(max_s)
        return EventStream(*arguments, max_s=max_s)

    monkeypatch.setattr(events_resource, "EventStream", stream)
    with listening(FrontEnd(redis_url, events_max=77).client()):
        assert lives_s == [77]


def test_events_are_kept_as_long_as_is_configured(redis_client: Any, redis_url: str, monkeypatch: Any):
    kept_s: list[float] = []
    monkeypatch.setattr(EventLog, "trim", lambda _self, keep_s: kept_s.append(keep_s))
    with listening(FrontEnd(redis_url, settings={"events_keep": 77}).client()):
        assert kept_s == [77]


def test_none_are_served_where_none_may_be(redis_client: Any, redis_url: str):
    problem(FrontEnd(redis_url, max_streams=0).client().get("/v4/events"), 503, "too-many-streams")


def test_a_stream_that_could_not_begin_leaves_its_place(redis_client: Any, redis_url: str, monkeypatch: Any):
    front_end = FrontEnd(redis_url, max_streams=1)
    client = front_end.client()
    with monkeypatch.context() as broken:
        broken.setattr(hub_of(front_end), "locate", lambda _: 1 / 0)
        assert client.get("/v4/events").status_code == 500
    with listening(client):
        pass


# --- who sees what


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


class Watcher:
    """A stream whose clock and client a test holds in its hands."""

    opened: ClassVar[list[Watcher]] = []

    def __init__(self, front_end: FrontEnd, who: Principal | None, **query: Any) -> None:
        self.who = who
        self.now_s = 0.0
        hub = hub_of(front_end)
        start = Start(hub.locate(None)[0], is_gap=False, resumed=True)
        self.stream = EventStream(
            hub,
            start,
            JobFilter(),
            lambda: scope_of(self.who, query) if self.who else None,
            max_s=60,
            clock=lambda: self.now_s,
        )
        next(self.stream)
        self.opened.append(self)

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        self.stream.wake()

    def seen(self) -> list[str]:
        """The jobs of the next piece; an empty one is a comment."""
        return [event.data["id"] for event in EventParser().feed(next(self.stream))]


@pytest.fixture(autouse=True)
def no_stream_is_left() -> Iterator[None]:
    """Otherwise the thread that serves it goes on beside all later tests."""
    yield
    for watcher in Watcher.opened:
        watcher.stream.close()
    Watcher.opened.clear()


def principal(name: str, *roles: Role) -> Principal:
    return Principal(name, frozenset(roles), "basic", f"basic {name}" if name else "")


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
def test_who_may_see_a_job_sees_its_events(
    front_end: FrontEnd, client: FlaskClient, who: Principal, everybody: bool, sees: bool
):
    watcher = Watcher(front_end, who, all=everybody)
    job_id = change(client)
    watcher.pass_s(stream_module._HEARTBEAT_S)
    assert watcher.seen() == ([job_id] if sees else [])


def test_an_operation_s_role_shows_others_jobs_to_those_who_ask_for_all(front_end: FrontEnd, client: FlaskClient):
    watcher = Watcher(front_end, principal("bob", Role.ADMIN), all=True)
    change(client)
    path = accepted(client.post("/v4/filer/volumes/vol/snapshots/s", json={}))
    assert watcher.seen() == [path.rpartition("/")[2]]


def test_a_stream_to_which_nothing_happens_wakes_for_its_next_check(front_end: FrontEnd, client: FlaskClient):
    watcher = Watcher(front_end, principal("ann"))
    assert change(client) in watcher.seen()
    assert 0 < watcher.stream._idle_s() <= stream_module._CHECK_EVERY_S


def test_a_role_that_is_gone_shows_no_more(front_end: FrontEnd, client: FlaskClient):
    watcher = Watcher(front_end, principal("bob", Role.UBER_ADMIN), all=True)
    before = change(client)
    assert watcher.seen() == [before]
    watcher.who = principal("bob", Role.USER)
    watcher.pass_s(stream_module._CHECK_EVERY_S)
    change(client)
    watcher.pass_s(stream_module._HEARTBEAT_S)
    assert watcher.seen() == []


def test_after_a_comment_the_stream_is_silent_for_as_long_again(front_end: FrontEnd, monkeypatch: Any):
    watcher, hub = Watcher(front_end, principal("ann")), hub_of(front_end)
    watcher.pass_s(stream_module._HEARTBEAT_S)
    assert watcher.seen() == []
    next_piece = hub.next_piece

    def look(*arguments: Any, **options: Any) -> Any:
        watcher.pass_s(stream_module._HEARTBEAT_S / 2)
        return next_piece(*arguments, **options)

    monkeypatch.setattr(hub, "next_piece", look)
    assert (watcher.seen(), watcher.now_s) == ([], 2 * stream_module._HEARTBEAT_S)


def test_the_stream_ends_when_its_client_is_signed_out(front_end: FrontEnd, client: FlaskClient):
    watcher = Watcher(front_end, principal("ann"))
    assert change(client) in watcher.seen()
    watcher.who = None
    watcher.pass_s(stream_module._CHECK_EVERY_S)
    change(client)
    with pytest.raises(StopIteration):
        next(watcher.stream)


def test_the_stream_ends_when_it_has_lived_for_long(front_end: FrontEnd, client: FlaskClient):
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
def test_a_stream_stays_while_nobody_can_tell_whose_it_is(client: FlaskClient, monkeypatch: Any, code: str):
    monkeypatch.setattr(stream_module, "_RETRY_S", 0.01)
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


def test_a_silent_stream_says_that_it_lives_and_where_it_is(front_end: FrontEnd, client: FlaskClient):
    watcher = Watcher(front_end, principal("bob"))
    change(client)
    parser = EventParser()
    watcher.pass_s(stream_module._HEARTBEAT_S)
    assert list(parser.feed(next(watcher.stream))) == []
    assert parser.comments == 1
    assert parser.last_id == str(hub_of(front_end).locate(None)[0])


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


def test_many_events_are_read_in_steps_and_shown_whole_and_in_order(client: FlaskClient, monkeypatch: Any):
    monkeypatch.setattr(hub_module, "_READ_AT_ONCE", 2)
    monkeypatch.setattr(hub_module, "_READ_BEFORE_WAKING", 5)
    with listening(client) as listener:
        jobs = [change(client) for _ in range(12)]
        assert listener.states(12) == [(job_id, "queued") for job_id in jobs]


def test_a_log_that_was_lost_is_not_mixed_up_with_the_next_one(
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
    # What comes now is at hand for all.
    monkeypatch.setattr(hub._log, "read", Mock(side_effect=AssertionError))
    next_one = change(client)
    assert after.seen() == [next_one]


def test_a_place_in_another_log_is_looked_for_in_redis_and_not_in_memory(front_end: FrontEnd, client: FlaskClient):
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


def test_what_one_was_sent_is_not_sent_to_another(front_end: FrontEnd, client: FlaskClient):
    change(client)
    hub = hub_of(front_end)
    position, _ = hub.locate(None)
    job_id = change(client)
    ann, bob = (scope_of(principal(name), {}) for name in ("ann", "bob"))
    audiences = (Audience(ann, JobFilter()), Audience(bob, JobFilter()), Audience(ann, JobFilter(volume="other")))
    pieces = [hub.next_piece(audience, position, is_gap=False) for audience in audiences]
    assert [job_id.encode() in piece.data for piece in pieces] == [True, False, False]


def test_what_was_sent_of_a_log_that_was_lost_is_not_sent_of_the_next(front_end: FrontEnd, client: FlaskClient):
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


def test_each_piece_of_the_news_is_made_once_for_an_audience(
    front_end: FrontEnd, client: FlaskClient, monkeypatch: Any
):
    """However much was sent before: with the news, earlier pieces are forgotten."""
    monkeypatch.setattr(hub_module, "_MOST_PIECES", 1)
    change(client)
    hub, audience = hub_of(front_end), Audience(scope_of(principal("ann"), {}), JobFilter())
    position, _ = hub.locate(None)
    for _ in range(3):
        job_id = change(client)
        position, before = hub._read_next(position), position
        first, second = (hub.next_piece(audience, before, is_gap=False) for _ in range(2))
        assert (first is second, job_id.encode() in first.data) == (True, True)


def test_who_sees_some_of_the_news_is_woken_and_taken_past_none(front_end: FrontEnd, client: FlaskClient):
    change(client)
    hub = hub_of(front_end)
    position, _ = hub.locate(None)
    for volume in ("one", "two", "three"):
        change(client, volume)
    events = [live.event for live in hub.after(position, 10)]
    readers = [Asleep(Audience(scope_of(principal("ann"), {}), JobFilter(volume=name))) for name in ("two", "four")]
    hub._notify([*readers], events, position)
    assert [reader.calls for reader in readers] == [["wake"], [(position, events[-1].position)]]


def test_what_lies_between_two_parts_that_are_for_others_is_shown(front_end: FrontEnd, client: FlaskClient):
    watcher = Watcher(front_end, principal("ann"))
    hub = hub_of(front_end)
    begin, _ = hub.locate(None)
    jobs = [change(client, volume) for volume in ("one", "two", "three")]
    first, second, third = (live.event.position for live in hub.after(begin, 10))
    watcher.stream.skip(begin, first)
    watcher.stream.skip(second, third)
    watcher.pass_s(stream_module._HEARTBEAT_S)
    assert watcher.seen() == jobs


def test_parts_for_others_that_follow_one_another_are_passed_at_once(front_end: FrontEnd, client: FlaskClient):
    watcher = Watcher(front_end, principal("ann"))
    hub = hub_of(front_end)
    begin, _ = hub.locate(None)
    jobs = [change(client, volume) for volume in ("one", "two", "three")]
    first, second, _ = (live.event.position for live in hub.after(begin, 10))
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


def test_a_large_piece_is_cut_and_the_rest_comes_next(front_end: FrontEnd, client: FlaskClient, monkeypatch: Any):
    monkeypatch.setattr("api.events.audience._PIECE_BYTES", 1)
    position, _ = hub_of(front_end).locate(None)
    jobs = [change(client) for _ in range(3)]
    audience, seen = Audience(scope_of(principal("ann"), {}), JobFilter()), []
    while (piece := hub_of(front_end).next_piece(audience, position, is_gap=False)).more:
        position = piece.position
        seen.append([event.data["id"] for event in EventParser().feed(piece.data)])
    assert seen == [[job_id] for job_id in jobs]


def test_a_stream_that_comes_after_all_others_have_gone_is_served(redis_client: Any, redis_url: str, monkeypatch: Any):
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
