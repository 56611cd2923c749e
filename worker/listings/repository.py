"""The listings in Redis: a base that a read made, and the changes made since, laid over it.

A change is appended in the same step in which its job succeeds; a listing that was under way meanwhile keeps, when it
becomes the base, every change since it began. So no listing hides a change or brings back what is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

from worker.catalog.resource_types import VOLUMES, View
from worker.config.settings import Settings
from worker.jobs.record import Generation
from worker.listings.listing import Change, Listing
from worker.store.client import Scripts
from worker.store.resp import Glances, command, values

#: The time during which a filer that could not be reached counts as away, unless it answers sooner.
AWAY_MS = 15_000


@dataclass(frozen=True, slots=True)
class Standing:
    """What Redis holds of one listing right now; times are Unix milliseconds on Redis's clock."""

    thing: str
    now_ms: int
    generation: Generation | None = None
    as_of_ms: int = 0
    count: int = 0
    hash: str = ""
    #: The storage system must be asked before it is shown again.
    invalid: bool = False
    #: The read of it that is under way.
    flight: str = ""
    #: The storage system could not be reached lately.
    away: bool = False
    #: The answers of Redis that say so, as they came.
    raw: bytes = field(default=b"", repr=False, compare=False)

    @property
    def usable(self) -> bool:
        """Is there a copy that may be shown at all?"""
        return self.generation is not None and not self.invalid

    @property
    def age_s(self) -> int:
        """Seconds since the listing began."""
        return max(0, (self.now_ms - self.as_of_ms) // 1000)

    @property
    def etag(self) -> str:
        """Names this state: by its contents while no change lies over the base, so that an equal refresh keeps it."""
        if self.generation is None:
            return ""
        if self.generation.seq == self.generation.base_seq:
            return self.hash
        return f"{self.hash}-{self.generation.base_seq}-{self.generation.seq}"


@dataclass(frozen=True, slots=True)
class Started:
    """When a read began: what it will have seen, and from which change on others are laid over it."""

    thing: str
    as_of_ms: int
    seq: int
    parent_epoch: int


class Listings:
    """Reads and prepares listings; they are changed only by the scripts that end a job."""

    def __init__(self, client: redis.Redis, scripts: Scripts, settings: Settings) -> None:
        self._redis = client
        self._scripts = scripts
        self._glances = Glances(client)
        self._prefix = settings.key_prefix
        self._keep_ms = settings.cache_keep * 1000
        self._page_ms = settings.page_keep * 1000

    def standing(self, view: View, thing: str, parent_thing: str = "") -> Standing:
        """Look at one listing: one round trip, whatever its size."""
        asked = self.questions(thing, parent_thing)
        raw = self._glances.ask(b"".join(command(*words) for words in asked), _VALUES)
        found = (values(raw) if raw else None) or self._answers(asked)
        seconds, micros, *fields, epoch, flight, away = found
        known = {name: value.decode() for name, value in zip(_FIELDS, fields, strict=True) if value is not None}
        outdated = view.single and int(epoch or 0) != int(known.get("parent_epoch", 0))
        return Standing(
            thing,
            int(seconds or 0) * 1000 + int(micros or 0) // 1000,
            _generation(thing, known),
            int(known.get("as_of", 0)),
            int(known.get("count", 0)),
            known.get("hash", ""),
            invalid="invalid" in known or outdated,
            flight=(flight or b"").decode(),
            away=away != b"0",
            raw=raw or b"",
        )

    def questions(self, thing: str, parent_thing: str = "") -> tuple[tuple[str, ...], ...]:
        """The commands whose answers make a ``Standing``; the first asks for the time."""
        return (
            ("TIME",),
            ("HMGET", self._view(thing), *_FIELDS),
            ("HGET", self._view(parent_thing or thing), "epoch"),
            ("GET", f"{self._prefix}flight:{thing}"),
            ("EXISTS", f"{self._prefix}away:{thing.split('/', 1)[0]}"),
        )

    def _answers(self, asked: tuple[tuple[str, ...], ...]) -> list[bytes | None]:
        """The same by the client library, which knows what to do when something is unusual."""
        pipe = self._redis.pipeline(transaction=False)
        for words in asked:
            pipe.execute_command(*words)  # type: ignore[no-untyped-call]
        time, fields, epoch, flight, away = pipe.execute()
        return [b"%d" % time[0], b"%d" % time[1], *fields, epoch, flight, b"%d" % away]

    def load(self, generation: Generation, like: Listing | None = None) -> Listing | None:
        """Return a state of a listing; None when it is kept no longer. What is as in ``like`` is shared with it."""
        blob = self._redis.get(self._base(generation.thing, generation.base))
        if blob is None:
            return None
        changes = self.changes(generation, generation.base_seq)
        if changes is None:
            return None
        listing = Listing.unpack(blob, like)  # type: ignore[arg-type]
        return listing.with_changes(changes) if changes else listing

    def changes(self, generation: Generation, after_seq: int) -> list[Change] | None:
        """The changes after ``after_seq`` up to the generation's own; None when they are kept no longer."""
        if generation.seq <= after_seq:
            return []
        entries: Any = self._redis.xrange(
            f"{self._prefix}log:{generation.thing}", f"{after_seq + 1}-0", f"{generation.seq}-0"
        )
        if len(entries) != generation.seq - after_seq:
            return None
        return [Change(fields[b"k"].decode(), fields[b"v"] or None) for _, fields in entries]

    def begin(self, view: View, thing: str, parent_thing: str, limit_ms: int) -> Started:
        """Note before the storage system is asked which changes it will surely have seen; keep those that come now."""
        now_ms, seq, epoch = self._scripts.begin(thing, parent_thing or thing, limit_ms)
        return Started(thing, now_ms, seq, epoch if view.single else 0)

    def store(self, started: Started, listing: Listing, replaces: str = "") -> dict[str, Any]:
        """Put the listing into Redis, and return the step with which the end of the job makes it the base."""
        base = listing.hash
        key = self._base(started.thing, base)
        if not self._redis.set(key, listing.pack(), px=self._page_ms, nx=True):
            # It has these contents already; until the job ends, it may be about to go.
            self._scripts.keep(key, self._page_ms)
        return {
            "what": "commit",
            "thing": started.thing,
            "base": base,
            "start_seq": started.seq,
            "as_of": started.as_of_ms,
            "count": listing.count,
            "bytes": listing.size_bytes,
            "hash": listing.hash,
            "parent_epoch": started.parent_epoch,
            "keep_ms": self._keep_ms,
            "page_ms": self._page_ms,
            **({"replaces": replaces} if replaces else {}),
        }

    def step(self, what: str, thing: str, key: str = "", record: str = "") -> dict[str, Any]:
        """A step that a job's end takes on one listing: put, drop or reread."""
        return {"what": what, "thing": thing, "key": key, "record": record, "keep_ms": self._keep_ms}

    def alias(self, subsystem: str, junction_path: str) -> str:
        """The name of the volume that was mounted there a moment ago; empty when that may have changed."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.get(self._alias(subsystem, junction_path))
        pipe.hget(self._volumes(subsystem), "seq")
        known, seq = pipe.execute()
        state, _, name = (known or b"").decode().partition(" ")
        return name if state == (seq or b"").decode() else ""

    def volumes_state(self, subsystem: str) -> str:
        """Tells whether any volume was changed in between; take it before asking what a path means."""
        seq: Any = self._redis.hget(self._volumes(subsystem), "seq")
        return (seq or b"").decode()

    def learn_alias(self, subsystem: str, junction_path: str, name: str, state: str, keep_s: int) -> None:
        """Remember for a moment which volume a path meant, in that ``volumes_state``."""
        if keep_s:
            self._redis.set(self._alias(subsystem, junction_path), f"{state} {name}", ex=keep_s)

    def set_away(self, subsystem: str, *, away: bool) -> None:
        """Tell readers whether the storage system can be reached."""
        key = f"{self._prefix}away:{subsystem}"
        if away:
            self._redis.set(key, "1", px=AWAY_MS)
        else:
            self._redis.delete(key)

    def _view(self, thing: str) -> str:
        return f"{self._prefix}view:{thing}"

    def _base(self, thing: str, base: str) -> str:
        return f"{self._prefix}base:{thing}:{base}"

    def _volumes(self, subsystem: str) -> str:
        return self._view(VOLUMES.thing(subsystem, {}))

    def _alias(self, subsystem: str, junction_path: str) -> str:
        return f"{self._prefix}alias:{subsystem}:{junction_path.lower()}"


_FIELDS = ("base", "base_seq", "seq", "as_of", "count", "hash", "invalid", "parent_epoch")
#: The values in the answers to the questions: the time is two.
_VALUES = 2 + len(_FIELDS) + 3


def _generation(thing: str, known: Mapping[str, str]) -> Generation | None:
    if "base" not in known:
        return None
    return Generation(thing, known["base"], int(known["base_seq"]), int(known["seq"]))
