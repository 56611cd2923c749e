"""Clients of the event stream, and streams whose clock a test sets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from flask.testing import FlaskClient

from api.auth import Principal
from api.events import _EXTENSION
from api.events.hub import EventHub
from api.events.stream import EventStream, Start
from api.jobs.listing import scope_of
from tests.api.front_end import FrontEnd, accepted
from tests.api.sse import EventParser, ServerEvent
from worker.catalog.operations import Role
from worker.jobs.query import JobFilter

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
        # Neither a proxy may buffer it nor a cache store it.
        assert (response.headers["X-Accel-Buffering"], response.headers["Cache-Control"]) == ("no", "no-store")
        listener = Listener(response.iter_encoded())
        # The first piece says where the stream is.
        assert list(listener.parser.feed(next(listener._pieces))) == []
        yield listener


def hub_of(front_end: FrontEnd) -> EventHub:
    hub: EventHub = front_end.app().extensions[_EXTENSION]
    return hub


class Watcher:
    """A stream whose clock and client a test controls."""

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


def principal(name: str, *roles: Role) -> Principal:
    return Principal(name, frozenset(roles), "basic", f"basic {name}" if name else "")
