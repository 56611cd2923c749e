"""Who is notified of jobs while parts of the service are killed: five event streams, and a receiver of webhooks."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.api.sse import EventParser
from tests.chaos.stack import PASSWORD, SUBSYSTEM, USER
from tests.worker.webhooks.receiver import HookReceiver

_PAUSE_S = 0.2


@dataclass
class Listener(threading.Thread):
    """Reads a stream, and resumes after the last event whenever the connection breaks."""

    name_: str
    urls: list[str]
    query: str
    #: Is a job, as it is now, one of those that the stream is to show?
    expects: Callable[[Mapping[str, Any]], bool]
    session: requests.Session
    rng: random.Random
    over: threading.Event = field(default_factory=threading.Event)
    #: Of each job: the states of its notifications, in the order in which they came.
    states: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    gaps: int = 0
    connections: int = 0
    last_id: str = ""

    def __post_init__(self) -> None:
        super().__init__(name=f"listener-{self.name_}", daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self._read()
            except requests.RequestException:
                self.over.wait(_PAUSE_S)

    def _read(self) -> None:
        parser = EventParser()
        parser.last_id = self.last_id
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        url = f"{self.rng.choice(self.urls)}/v4/events{self.query}"
        with self.session.get(url, headers=headers, stream=True, timeout=20) as answer:
            answer.raise_for_status()
            self.connections += 1
            for piece in answer.iter_content(None):
                for event in parser.feed(piece):
                    self._note(event.kind, event.data, event.last_id)
                self.last_id = parser.last_id
                if self.over.is_set():
                    return

    def _note(self, kind: str, data: dict[str, Any], event_id: str) -> None:
        self.gaps += kind == "gap"
        if kind == "job":
            self.ids.append(event_id)
            self.states[data["id"]].append(data["state"])
            self.documents[data["id"]] = data


def basic_session() -> requests.Session:
    """The user who submits all the jobs."""
    session = requests.Session()
    session.auth = (USER, PASSWORD)
    return session


def other_session(url: str) -> requests.Session:
    """A session of another user, signed in through the development server's login."""
    session = requests.Session()
    session.get(f"{url}/login", timeout=20).raise_for_status()
    return session


class OtherClient(threading.Thread):
    """Makes changes of another user from time to time."""

    def __init__(self, urls: list[str], session: requests.Session, over: threading.Event) -> None:
        super().__init__(name="other-client", daemon=True)
        self._urls, self._session, self._over = urls, session, over
        self.accepted: set[str] = set()

    def run(self) -> None:
        number = 0
        while not self._over.wait(1):
            number += 1
            path = f"/v4/{SUBSYSTEM}/export/default/rule/other{number}.example"
            try:
                answer = self._session.put(f"{self._urls[number % 2]}{path}", timeout=10)
            except requests.RequestException:
                continue
            if answer.status_code == requests.codes.accepted:
                self.accepted.add(answer.json()["id"])


class AbsentReceiver:
    """A receiver that is unavailable for a while: nothing listens on its port then."""

    def __init__(self) -> None:
        self.receiver = HookReceiver()
        self.times_away = 0

    def be_away(self, seconds: float) -> None:
        """Stop listening for so many seconds."""
        before = self.receiver
        before.close()
        time.sleep(seconds)
        self.times_away += 1
        self.receiver = HookReceiver(port=before.port)
        self.receiver.hooks += before.hooks
        self.receiver.attempts += before.attempts


def is_users(job: Mapping[str, Any]) -> bool:
    """Is it a job of the user of the other clients?"""
    return bool(job["requested_by"] == USER)


def is_new_snapshot(job: Mapping[str, Any]) -> bool:
    """Is it the succeeded creation of a snapshot?"""
    return (job["operation"], job["state"]) == ("create_snapshot", "succeeded")


def listeners(urls: list[str], other: requests.Session, seed: int) -> list[Listener]:
    """Return five readers: two of all jobs, one with a filter, and two users with their own jobs."""
    parameters: list[tuple[str, str, Callable[[Mapping[str, Any]], bool], requests.Session]] = [
        ("all1", "?all=true", lambda _: True, basic_session()),
        ("all2", "?all=true", lambda _: True, basic_session()),
        ("snapshots", "?all=true&operation=create_snapshot&state=succeeded", is_new_snapshot, basic_session()),
        ("own", "", is_users, basic_session()),
        ("other", "", lambda job: job["requested_by"] not in (USER, None), other),
    ]
    return [
        Listener(name, urls, query, expects, session, random.Random(f"{seed}{name}"))
        for name, query, expects, session in parameters
    ]
