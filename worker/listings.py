"""The listings in Redis: a base that a read made, and the changes made since, laid over it.

A change is appended in the same step in which its job succeeds; a listing that was under way meanwhile keeps, when it
becomes
the base, every change since it began. So no listing hides a change or brings back what is gone.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from worker.listing import Change, Listing
from worker.records import Generation
from worker.redis_access import Scripts
from worker.settings import Settings
from worker.views import View

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
        return f"{self.hash}-{self.generation.base}-{self.generation.seq}"


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
        self._prefix = settings.key_prefix
        self._keep_ms = settings.cache_keep * 1000
        self._page_ms = settings.page_keep * 1000

    def standing(self, view: View, thing: str, parent_thing: str = "") -> Standing:
        """Look at one listing: one round trip, whatever its size."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        pipe.hmget(self._view(thing), *_FIELDS)
        pipe.hget(self._view(parent_thing or thing), "epoch")
        pipe.get(f"{self._prefix}flight:{thing}")
        pipe.exists(f"{self._prefix}away:{thing.split('/', 1)[0]}")
        time, fields, epoch, flight, away = pipe.execute()
        known = {name: value.decode() for name, value in zip(_FIELDS, fields, strict=True) if value is not None}
        outdated = view.single and int(epoch or 0) != int(known.get("parent_epoch", 0))
        return Standing(
            thing,
            time[0] * 1000 + time[1] // 1000,
            _generation(thing, known),
            int(known.get("as_of", 0)),
            int(known.get("count", 0)),
            known.get("hash", ""),
            invalid="invalid" in known or outdated,
            flight=(flight or b"").decode(),
            away=bool(away),
        )

    def load(self, generation: Generation) -> Listing | None:
        """Return a state of a listing; None when it is kept no longer."""
        blob = self._redis.get(f"{self._prefix}base:{generation.thing}:{generation.base}")
        if blob is None:
            return None
        changes = self.changes(generation, generation.base_seq)
        listing = Listing.unpack(blob)  # type: ignore[arg-type]
        if changes is None or not changes:
            return listing if changes is not None else None
        return listing.with_changes(changes)

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
        """Note, before the storage system is asked, which changes it will surely have seen; keep those that come
        now.
        """
        now_ms, seq, epoch = self._scripts.begin(thing, parent_thing or thing, limit_ms)
        return Started(thing, now_ms, seq, epoch if view.single else 0)

    def store(self, started: Started, listing: Listing, replaces: str = "") -> dict[str, Any]:
        """Put the listing into Redis, and return the step with which the end of the job makes it the base."""
        base = secrets.token_hex(6)
        key = f"{self._prefix}base:{started.thing}:{base}"
        self._redis.set(key, listing.pack(), px=self._page_ms)
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
        """The name of the volume that was mounted there a moment ago; empty when that is not known."""
        name = self._redis.get(self._alias(subsystem, junction_path))
        return name.decode() if isinstance(name, bytes) else ""

    def learn_alias(self, subsystem: str, junction_path: str, name: str, keep_s: int) -> None:
        """Remember for a moment which volume a path meant."""
        if keep_s:
            self._redis.set(self._alias(subsystem, junction_path), name, ex=keep_s)

    def set_away(self, subsystem: str, *, away: bool) -> None:
        """Tell readers whether the storage system can be reached."""
        key = f"{self._prefix}away:{subsystem}"
        if away:
            self._redis.set(key, "1", px=AWAY_MS)
        else:
            self._redis.delete(key)

    def _view(self, thing: str) -> str:
        return f"{self._prefix}view:{thing}"

    def _alias(self, subsystem: str, junction_path: str) -> str:
        return f"{self._prefix}alias:{subsystem}:{junction_path.lower()}"


_FIELDS = ("base", "base_seq", "seq", "as_of", "count", "hash", "invalid", "parent_epoch")


def _generation(thing: str, known: Mapping[str, str]) -> Generation | None:
    if "base" not in known:
        return None
    return Generation(thing, known["base"], int(known["base_seq"]), int(known["seq"]))


class HotListings:
    """Listings kept in this process, each checked against Redis's generation before it is used: never stale."""

    def __init__(self, listings: Listings, most_bytes: int) -> None:
        self._listings = listings
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, tuple[Generation, Listing]] = OrderedDict()
        self._lock = threading.Lock()
        self._loading: dict[str, threading.Lock] = {}

    def get(self, generation: Generation) -> Listing | None:
        """Return that very state of the listing; None when Redis keeps it no longer."""
        listing = self._held(generation)
        if listing is not None:
            return listing
        with self._lock:
            loading = self._loading.setdefault(generation.thing, threading.Lock())
        with loading:
            listing = self._held(generation) or self._advance(generation) or self._listings.load(generation)
            if listing is not None:
                self._keep(generation, listing)
        return listing

    def _held(self, generation: Generation) -> Listing | None:
        with self._lock:
            kept = self._kept.get(generation.thing)
            if kept is None or kept[0] != generation:
                return None
            self._kept.move_to_end(generation.thing)
            return kept[1]

    def _advance(self, generation: Generation) -> Listing | None:
        """Bring the copy at hand up to date by the changes made since."""
        kept = self._kept.get(generation.thing)
        if kept is None or kept[0].base != generation.base or kept[0].seq > generation.seq:
            return None
        changes = self._listings.changes(generation, kept[0].seq)
        return None if changes is None else kept[1].with_changes(changes)

    def _keep(self, generation: Generation, listing: Listing) -> None:
        with self._lock:
            kept = self._kept.get(generation.thing)
            if kept is not None and kept[0].base == generation.base and kept[0].seq > generation.seq:
                return
            self._kept[generation.thing] = (generation, listing)
            self._kept.move_to_end(generation.thing)
            while len(self._kept) > 1 and sum(held.size_bytes for _, held in self._kept.values()) > self._most_bytes:
                self._kept.popitem(last=False)
