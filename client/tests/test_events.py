"""Events, with connections that are cut."""

from __future__ import annotations

import json
import threading

import pytest
from tests.e2e.own_stack import PASSWORD, USER

from proxy import answer, proxied
from storage_api_client import Client, Unavailable
from storage_api_client.protocol.events import EventParser

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_are_read_however_they_are_cut_into_pieces(size):
    text = b'id: 1\n\n: hello\r\nevent: job\r\nid: 2\r\ndata: {"id": "w"}\r\n\r\n'
    text += b'event: job\nid: 3\ndata: {"id":\ndata: "x"}\n\n'
    text += b"event: gap\nid: 4\ndata: {}\n\n: still here\n\nid: 5"
    parser = EventParser("0")
    events = [event for at in range(0, len(text), size) for event in parser.feed(text[at : at + size])]
    assert [(event.id, event.kind, event.job and event.job.id) for event in events] == [
        ("2", "job", "w"),
        ("3", "job", "x"),
        ("4", "gap", None),
    ]
    assert parser.last == "4"


def test_nothing_is_missed_where_the_connection_is_cut(stack, api, volume):
    seen: list[tuple[str, str]] = []
    begun, half = threading.Event(), threading.Event()

    def listen(url: str) -> None:
        with Client(url, basic=(USER, PASSWORD), timeout=20) as client:
            begun.set()
            for event in client.events(volume=volume):
                assert event.job
                seen.append((str(event.job.request["name"]), event.job.state))
                half.set()
                if seen[-1] == ("c", "succeeded"):
                    return

    with proxied(stack.url) as proxy:
        listener = threading.Thread(target=listen, args=(proxy.url,))
        listener.start()
        volumes = api.subsystem("dummy").volumes
        begun.wait(20)
        _await_stream(proxy)
        volumes.snapshot(volume, "a")
        assert half.wait(20)
        proxy.refuse()
        volumes.snapshot(volume, "b")
        proxy.listen()
        volumes.snapshot(volume, "c")
        listener.join(40)
    assert [name for name, state in seen if state == "succeeded"] == ["a", "b", "c"]


def _await_stream(proxy) -> None:
    """Return when the stream is open: from then on nothing is missed."""
    assert proxy.answered.wait(20)


def test_a_service_with_too_many_streams_is_retried(stack, api, volume):
    full = json.dumps({"type": "/problems/too-many-streams", "title": "x", "status": 503, "code": "too-many-streams",
                       "detail": "Full.", "retryable": True})  # fmt: skip
    with proxied(stack.url) as proxy, Client(proxy.url, basic=(USER, PASSWORD), timeout=20) as client:
        proxy.answers = [answer("503 Service Unavailable", full, Retry_After="1")]
        made = threading.Timer(2, lambda: api.subsystem("dummy").volumes.snapshot(volume, "late"))
        made.start()
        assert next(iter(client.events(volume=volume))).job is not None
        made.join()


def test_an_unavailable_service_ends_the_iteration(stack):
    with proxied(stack.url) as proxy, Client(proxy.url, basic=(USER, PASSWORD), timeout=1) as client:
        proxy.refuse()
        with pytest.raises(Unavailable):
            next(iter(client.events()))


def test_the_command_writes_a_line_for_each(cli, api, volume):
    command = cli.start("events", "--volume", volume, "--limit", "2", "-o", "json")
    until = threading.Event()

    def make() -> None:
        number = 0
        while not until.is_set() and number < 20:
            number += 1
            api.subsystem("dummy").volumes.lock(volume, f"h{number % 1}.example.org")
            until.wait(0.3)

    maker = threading.Thread(target=make)
    maker.start()
    out, err = command.communicate(timeout=40)
    until.set()
    maker.join(30)
    assert command.returncode == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["job"]["operation"] for event in events] == ["create_lock"] * 2
