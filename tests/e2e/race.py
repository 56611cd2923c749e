"""A model of what a filer holds, by which every response to a reader is checked afterwards.

Each object has a history of states. A state stands from the moment at which the end of its change was seen; from the
moment at which the next change was submitted that one may show as well; and when its end was seen, only that one. So an
answer must show one of the states that were possible between the sending of its request and its arrival: never one that
was superseded before the request was sent, and never one that is not there yet.
"""

from __future__ import annotations

import bisect
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Record = Mapping[str, Any]
#: A collection's path, and the name of an object in it.
Key = tuple[str, str]
_ALWAYS = float("-inf")


@dataclass(slots=True)
class History:
    """The states of one object, each with when its change was submitted, and when its end was seen."""

    states: list[Record | None] = field(default_factory=lambda: [None])
    submitted: list[float] = field(default_factory=lambda: [_ALWAYS])
    ended: list[float] = field(default_factory=lambda: [_ALWAYS])
    causes: list[str] = field(default_factory=lambda: ["in the beginning"])

    def add(self, state: Record | None, submitted: float, ended: float, cause: str) -> None:
        """A change has ended; one object's changes follow each other."""
        self.states.append(state)
        self.submitted.append(submitted)
        self.ended.append(ended)
        self.causes.append(cause)

    def possible(self, sent: float, received: float) -> list[Record | None]:
        """The states that an answer may show."""
        first = bisect.bisect_right(self.ended, sent) - 1
        last = bisect.bisect_right(self.submitted, received)
        return self.states[first:last]

    def describe(self, start: float, around: float) -> list[str]:
        """Its last states before a moment and the first after it, for messages."""
        near = [number for number, submitted in enumerate(self.submitted) if submitted <= around][-4:]
        near += range(near[-1] + 1, min(near[-1] + 2, len(self.states)))
        return [
            f"  {_at(self.submitted[n], start)} to {_at(self.ended[n], start)}  {self.causes[n]}: {self.states[n]}"
            for n in near
        ]


@dataclass(slots=True)
class Answer:
    """A response to a reader about one collection."""

    request: str
    sent: float
    received: float
    collection: str
    records: Mapping[str, Record]
    #: The requested objects; None: all of them.
    names: tuple[str, ...] | None = None
    #: Which records were requested.
    fits: Callable[[Record], bool] | None = None
    #: The answer says only whether ``names`` are there.
    there: bool | None = None


class Model:
    """Histories of all objects, all responses, and the errors in them."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.answers: list[Answer] = []
        self.kinds: Counter[str] = Counter()
        #: Responses that are errors.
        self.surprises: list[str] = []
        #: What there may be to ask for, by collection.
        self.names: dict[str, list[str]] = {}
        self._histories: dict[str, dict[str, History]] = {}
        self._known: dict[str, Record] = {}
        self._lock = threading.Lock()

    def introduce(self, collection: str, name: str = "") -> None:
        """There may be such a collection, or such an object, from now on."""
        with self._lock:
            names = self.names.setdefault(collection, [])
            if name and name not in names:
                names.append(name)

    def begin(self, collection: str, records: Iterable[Record]) -> None:
        """What was there before anything was changed."""
        for record in records:
            self.introduce(collection, str(record["name"]))
            self._history((collection, str(record["name"]))).states[0] = record

    def changed(self, states: Mapping[Key, Record | None], submitted: float, ended: float, cause: str) -> None:
        """A change has succeeded."""
        with self._lock:
            for key, state in states.items():
                self._history(key).add(state, submitted, ended, cause)

    def same(self, record: dict[str, Any]) -> Record:
        """The one copy that is kept of equal records."""
        return self._known.setdefault(json.dumps(record, sort_keys=True), record)

    def surprise(self, text: str) -> None:
        """Record a response that is an error."""
        self.surprises.append(f"{_at(time.monotonic(), self.start)} {text}")

    def _history(self, key: Key) -> History:
        return self._histories.setdefault(key[0], {}).setdefault(key[1], History())

    def disagreements(self) -> list[str]:
        """Check every response, once all changes have ended; return the errors, with the histories that show them."""
        return [*self.surprises, *(text for answer in self.answers for text in self._judge(answer))]

    def _judge(self, answer: Answer) -> Iterable[str]:
        histories = self._histories.get(answer.collection, {})
        for name in answer.records.keys() - histories.keys():
            yield self._say(answer, name, History())
        for name in histories if answer.names is None else answer.names:
            history = histories.get(name, History())
            possible = history.possible(answer.sent, answer.received)
            if not _agrees(answer, answer.records.get(name), possible):
                yield self._say(answer, name, history)

    def _say(self, answer: Answer, name: str, history: History) -> str:
        state = answer.there if answer.there is not None else answer.records.get(name)
        lines = [
            f"{answer.request}\n  sent {_at(answer.sent, self.start)}, received {_at(answer.received, self.start)}",
            f"  shows {answer.collection}/{name} as {state}; its states:",
            *history.describe(self.start, answer.received),
        ]
        return "\n".join(lines)


def _agrees(answer: Answer, record: Record | None, possible: list[Record | None]) -> bool:
    if answer.there is not None:
        return any((state is not None) == answer.there for state in possible)
    if record is not None:
        return record in possible and (answer.fits is None or answer.fits(record))
    return any(state is None or not (answer.fits is None or answer.fits(state)) for state in possible)


def _at(moment: float, start: float) -> str:
    return "ever" if moment == _ALWAYS else f"{moment - start:.4f} s"
