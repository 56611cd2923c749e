"""The event stream over HTTP: its events, where it begins and goes on, and how many there may be."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.events.audience import LiveEvent
from api.events.stream import EventStream
from api.resources import events as events_resource
from tests.api.events.listeners import change, hub_of, listening
from tests.api.front_end import FrontEnd, Worker, accepted, pointers, problem
from worker.catalog.operations import Role
from worker.jobs.event_log import BEGINNING, EventLog

BODY = {"percentage_snapshot_reserve": 5}


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


def test_links_have_the_prefix_of_each_client(client: FlaskClient):
    """Also for an event that one of them has not received yet, and reads from Redis."""
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


def test_events_are_serialized_in_advance_for_the_prefixes_of_open_streams(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
):
    """Many streams then only copy them."""
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


def test_an_event_is_serialized_once_for_each_prefix(front_end: FrontEnd, client: FlaskClient):
    job_id = change(client)
    live = LiveEvent(EventLog(front_end.services.redis, "sapi:").read(BEGINNING, 1)[0])
    for prefix in ("", "/below", ""):
        assert f'"self":"{prefix}/v4/jobs/{job_id}"'.encode() in live.text(prefix)
    assert live.text("/below") is live.text("/below")


def test_an_empty_last_event_id_is_ignored(client: FlaskClient):
    change(client, "before")
    with listening(client, last_id="") as listener:
        after = change(client, "after")
        assert listener.states(1) == [(after, "queued")]


def test_a_stream_begins_with_the_next_event(client: FlaskClient):
    change(client)
    with listening(client) as listener:
        later = change(client)
        assert listener.states(1) == [(later, "queued")]


def test_a_stream_resumes_without_missing_or_repeated_events(client: FlaskClient):
    with listening(client) as listener:
        first, second = change(client), change(client)
        event = listener.next()
        assert event.data["id"] == first
    third = change(client)
    with listening(client, last_id=event.last_id) as listener:
        fourth = change(client)
        assert listener.states(3) == [(second, "queued"), (third, "queued"), (fourth, "queued")]


def test_a_stream_cut_before_its_first_event_resumes_without_missing_events(client: FlaskClient):
    with listening(client) as listener:
        at = listener.parser.last_id
    missed = change(client)
    with listening(client, last_id=at) as listener:
        assert listener.states(1) == [(missed, "queued")]


def test_deleted_events_are_reported_as_one_gap(front_end: FrontEnd, client: FlaskClient):
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
    # A client that resumes at the gap does not get it again.
    with listening(client, last_id=gap.last_id) as listener:
        assert listener.states(1) == [(third, "queued")]
    assert first != third


def test_deleted_events_that_were_received_are_no_gap(front_end: FrontEnd, client: FlaskClient):
    with listening(client) as listener:
        change(client)
        last_id = listener.next().last_id
    EventLog(front_end.services.redis, front_end.settings.key_prefix).trim(-5)
    with listening(client, last_id=last_id) as listener:
        later = change(client)
        assert listener.states(1) == [(later, "queued")]


def test_deletion_of_all_events_is_reported_as_a_gap_at_once(front_end: FrontEnd, client: FlaskClient):
    with listening(client) as listener:
        last_id = listener.parser.last_id
    change(client)
    EventLog(front_end.services.redis, front_end.settings.key_prefix).trim(-5)
    with listening(client, last_id=last_id) as listener:
        assert listener.next().kind == "gap"


@pytest.mark.parametrize("last_id", ["nonsense", "99999999999999-0-99999"])
def test_an_unknown_id_is_one_gap_when_the_log_is_empty(front_end: FrontEnd, client: FlaskClient, last_id: str):
    change(client)
    EventLog(front_end.services.redis, front_end.settings.key_prefix).trim(-5)
    with listening(client, last_id=last_id) as listener:
        gap = listener.next()
        assert gap.kind == "gap"
        later = change(client)
        assert listener.states(1) == [(later, "queued")]
    with listening(client, last_id=gap.last_id) as listener:
        assert listener.states(1) == [(later, "queued")]


@pytest.mark.parametrize("last_id", ["nonsense", "99999999999999-0-99999"])
def test_an_unknown_id_is_a_gap_before_all_stored_events(client: FlaskClient, last_id: str):
    kept = change(client)
    with listening(client, last_id=last_id) as listener:
        assert listener.next().kind == "gap"
        assert listener.states(1) == [(kept, "queued")]
        # The gap is reported once.
        later = change(client)
        assert listener.states(1) == [(later, "queued")]


def test_the_filters_of_the_job_list_select_events(client: FlaskClient):
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
def test_an_invalid_query_is_refused(client: FlaskClient, query: str, pointer: str):
    assert pointers(problem(client.get(f"/v4/events{query}"), 422, "validation-failed")) == [pointer]


def test_anonymous_clients_are_refused(front_end: FrontEnd):
    problem(front_end.stranger().get("/v4/events"), 401, "unauthenticated")


def test_a_head_request_opens_no_stream(front_end: FrontEnd, client: FlaskClient):
    answer = client.head("/v4/events")
    assert answer.content_type == "text/event-stream"
    # The response to GET has none.
    assert "Content-Length" not in answer.headers


def test_streams_beyond_the_limit_are_refused_until_one_ends(redis_client: Any, redis_url: str):
    client = FrontEnd(redis_url, max_streams=2).client()
    with listening(client), listening(client):
        response = client.get("/v4/events")
        problem(response, 503, "too-many-streams")
        assert int(response.headers["Retry-After"]) > 0
    with listening(client) as listener:
        later = change(client)
        assert listener.states(1) == [(later, "queued")]


def test_a_user_without_a_role_for_changes_gets_a_share_of_the_streams(redis_client: Any, redis_url: str):
    front_end = FrontEnd(redis_url, max_streams=5)
    reader = front_end.client(Role.USER)
    with listening(reader), listening(reader):
        assert problem(reader.get("/v4/events"), 503, "too-many-streams")["limit"] == "SAPI_MAX_STREAMS"
    with listening(reader), listening(front_end.client()), listening(front_end.client()), listening(front_end.client()):
        pass


def test_a_stream_ends_after_the_configured_time(redis_client: Any, redis_url: str, monkeypatch: Any):
    lives_s: list[float] = []

    def stream(*arguments: Any, max_s: float) -> EventStream:
        lives_s.append(max_s)
        return EventStream(*arguments, max_s=max_s)

    monkeypatch.setattr(events_resource, "EventStream", stream)
    with listening(FrontEnd(redis_url, events_max=77).client()):
        assert lives_s == [77]


def test_events_are_stored_as_long_as_configured(redis_client: Any, redis_url: str, monkeypatch: Any):
    kept_s: list[float] = []
    monkeypatch.setattr(EventLog, "trim", lambda _self, keep_s: kept_s.append(keep_s))
    with listening(FrontEnd(redis_url, settings={"events_keep": 77}).client()):
        assert kept_s == [77]


def test_with_a_limit_of_0_no_stream_is_served(redis_client: Any, redis_url: str):
    problem(FrontEnd(redis_url, max_streams=0).client().get("/v4/events"), 503, "too-many-streams")


def test_a_stream_that_failed_to_begin_does_not_count(redis_client: Any, redis_url: str, monkeypatch: Any):
    front_end = FrontEnd(redis_url, max_streams=1)
    client = front_end.client()
    with monkeypatch.context() as broken:
        broken.setattr(hub_of(front_end), "locate", lambda _: 1 / 0)
        assert client.get("/v4/events").status_code == 500
    with listening(client):
        pass
