"""The cached listings in Redis: a base version from a read, and the changes since, applied to it.

A change is appended in the same step in which its job succeeds. When a read that was in flight meanwhile becomes the
base, the changes since its start are applied to it, so that no listing misses a change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

from worker.catalog.resource_types import VOLUMES, ResourceType
from worker.config.settings import Settings
from worker.jobs.record import ListingVersion
from worker.listings.listing import Change, Listing
from worker.store.keys import Keys
from worker.store.pipelined_reads import PipelinedReads
from worker.store.scripts import JobScripts

#: How long a filer counts as unreachable after a failure, unless it answers sooner (ms).
UNAVAILABLE_MS = 15_000


@dataclass(frozen=True, slots=True)
class ListingState:
    """The state of one cached listing; times are Unix milliseconds on Redis's clock."""

    cache_key: str
    now_ms: int
    listing_version: ListingVersion | None
    as_of_ms: int
    count: int = 0
    hash: str = ""
    #: Was it invalidated? Then it must be read again from the storage system before it is served.
    invalid: bool = False
    #: The id of the job that is reading it.
    inflight: str = ""
    #: Was the storage system unreachable lately?
    unavailable: bool = False
    #: When it was last changed, also where compaction has put that change into the base; 0: not known.
    changed_ms: int = 0
    #: The age of a listing from the future, whose read began before the clock was set back (ms).
    unknown_age_ms: int = 0
    #: For a single object: when the read of its collection began; 0 when that is not cached.
    collection_as_of_ms: int = 0
    #: Redis's replies to `Listings.version_commands`, without the time.
    version_replies: tuple[Any, ...] = field(default=(), repr=False)

    @property
    def usable(self) -> bool:
        """Is there a copy that may be served?"""
        return self.listing_version is not None and not self.invalid

    @property
    def age_ms(self) -> int:
        """Milliseconds since the read of the listing began."""
        return self.now_ms - self.as_of_ms if self.as_of_ms <= self.now_ms else self.unknown_age_ms

    @property
    def modified_ms(self) -> int:
        """When its contents may have changed last: at the start of its read, or by a later change."""
        return max(self.as_of_ms, self.changed_ms)

    @property
    def age_s(self) -> int:
        """Seconds since the read of the listing began."""
        return self.age_ms // 1000

    @property
    def etag(self) -> str:
        """The entity tag; without changes since the base a digest of the contents, equal after an equal refresh."""
        if self.listing_version is None:
            return ""
        if self.listing_version.seq == self.listing_version.base_seq:
            return self.hash
        version = self.listing_version
        return "-".join(filter(None, (self.hash, str(version.base_seq), str(version.seq), version.changed)))


@dataclass(frozen=True, slots=True)
class ReadMark:
    """The start of a read: its time, and the number of the last change that it includes."""

    cache_key: str
    as_of_ms: int
    seq: int
    parent_epoch: int


class Listings:
    """Reads and stores listings; only the scripts that end a job make them current."""

    def __init__(self, client: redis.Redis, scripts: JobScripts, settings: Settings) -> None:
        self._redis = client
        self._scripts = scripts
        self._reads = PipelinedReads(client)
        self._keys = Keys(settings.key_prefix)
        self._keep_ms = settings.cache_keep * 1000
        self._page_ms = settings.old_listing_ttl * 1000
        #: Just no longer fresh.
        self._stale_ms = (settings.cache_fresh + 1) * 1000

    def listing_state(self, resource_type: ResourceType, cache_key: str, parent_key: str = "") -> ListingState:
        """Read the state of one listing, in one round trip."""
        subsystem, _, _ = cache_key.partition("/")
        read_in_flight = ("MGET", self._keys.inflight(cache_key), self._keys.unreachable(subsystem))
        replies = self._reads.read(self._reads.pack((*self.version_commands(cache_key, parent_key), read_in_flight)))
        (seconds, micros), fields, *parent, (inflight, unavailable) = replies
        state = {name: value.decode() for name, value in zip(_FIELDS, fields, strict=True) if value is not None}
        epoch, collection_as_of = parent[0] if parent else (state.get("epoch"), None)
        outdated = resource_type.single and int(epoch or 0) != int(state.get("parent_epoch", 0))
        return ListingState(
            cache_key,
            int(seconds) * 1000 + int(micros) // 1000,
            _listing_version(cache_key, state),
            int(state.get("as_of", 0)),
            int(state.get("count", 0)),
            state.get("hash", ""),
            invalid="invalid" in state or outdated,
            inflight=(inflight or b"").decode(),
            unavailable=unavailable is not None,
            changed_ms=int(state.get("changed", 0)),
            unknown_age_ms=self._stale_ms,
            collection_as_of_ms=int(collection_as_of or 0),
            version_replies=replies[1:-1],
        )

    def version_commands(self, cache_key: str, parent_key: str = "") -> tuple[tuple[str, ...], ...]:
        """The commands on whose replies a response from a fresh copy depends; the first one is TIME.

        They are few, since each reply costs a client more than Redis: they are read for every cached response.
        """
        parent = (("HMGET", self._keys.listing(parent_key), "epoch", "as_of"),) if parent_key else ()
        return (("TIME",), ("HMGET", self._keys.listing(cache_key), *_FIELDS), *parent)

    def load(self, listing_version: ListingVersion, like: Listing | None = None) -> Listing | None:
        """Return a version of a listing; None when it has expired. Chunks equal to those of ``like`` are shared."""
        blob = self._redis.get(self._keys.base(listing_version.cache_key, listing_version.base))
        if blob is None:
            return None
        changes = self.changes(listing_version)
        if changes is None:
            return None
        listing = Listing.unpack(blob, like)  # type: ignore[arg-type]
        return listing.with_changes(changes) if changes else listing

    def changes(self, listing_version: ListingVersion, after: ListingVersion | None = None) -> list[Change] | None:
        """The changes of a version after an earlier one of the same base (default: after the base).

        None when they have expired, or do not follow the earlier version: Redis was restored from a copy before it.
        """
        after_seq = listing_version.base_seq if after is None else after.seq
        # The last change that is in the earlier version already: is it the same one?
        known = "" if after is None else after.changed
        first = after_seq if known else after_seq + 1
        entries: Any = self._redis.xrange(
            self._keys.delta(listing_version.cache_key), f"{first}-0", f"{listing_version.seq}-0"
        )
        if len(entries) != listing_version.seq - first + 1:
            return None
        if known and entries.pop(0)[1].get(b"t", b"").decode() != known:
            return None
        return [Change(fields[b"k"].decode(), fields[b"v"] or None) for _, fields in entries]

    def begin(self, resource_type: ResourceType, cache_key: str, parent_key: str, limit_ms: int) -> ReadMark:
        """Begin a read: return a mark with the last change that it includes; later changes are kept for it."""
        now_ms, seq, epoch = self._scripts.begin_read(cache_key, parent_key or cache_key, limit_ms)
        return ReadMark(cache_key, now_ms, seq, epoch if resource_type.single else 0)

    def abandon(self, cache_key: str) -> None:
        """Forget a read that has failed, so that nothing is left of a listing that does not exist."""
        self._scripts.abandon_read(cache_key)

    def store(
        self, started: ReadMark, listing: Listing, replaces: str = "", *, keep_ms: int | None = None
    ) -> dict[str, Any]:
        """Store the listing in Redis, and return the step with which the end of the job makes it the base.

        Args:
            started: the mark that the read began with.
            listing: what was read.
            replaces: the base that it must replace, if any.
            keep_ms: how long it is kept (default: `SAPI_CACHE_KEEP`).
        """
        base = listing.hash
        key = self._keys.base(started.cache_key, base)
        if not self._redis.set(key, listing.pack(), px=self._page_ms, nx=True):
            # It is stored already; its TTL is extended so that it does not expire before the job ends.
            self._scripts.extend_ttl(key, self._page_ms)
        return {
            "what": "commit",
            "cache_key": started.cache_key,
            "base": base,
            "start_seq": started.seq,
            "as_of": started.as_of_ms,
            "count": listing.count,
            "hash": listing.hash,
            "parent_epoch": started.parent_epoch,
            "keep_ms": keep_ms or self._keep_ms,
            "page_ms": self._page_ms,
            **({"replaces": replaces} if replaces else {}),
        }

    def step(self, what: str, cache_key: str, key: str = "", record: str = "") -> dict[str, Any]:
        """Return a step for the end of a job on one listing: upsert, delete or invalidate."""
        return {"what": what, "cache_key": cache_key, "key": key, "record": record, "keep_ms": self._keep_ms}

    def alias(self, subsystem: str, junction_path: str) -> str:
        """The cached name of the volume mounted there; empty when unknown or possibly outdated."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.get(self._alias(subsystem, junction_path))
        pipe.hget(self._volumes(subsystem), "seq")
        entry, seq = pipe.execute()
        state, _, name = (entry or b"").decode().partition(" ")
        return name if state == (seq or b"").decode() else ""

    def volumes_state(self, subsystem: str) -> str:
        """A value that changes with every change of a volume; read it before resolving a path."""
        seq: Any = self._redis.hget(self._volumes(subsystem), "seq")
        return (seq or b"").decode()

    def cache_alias(self, subsystem: str, junction_path: str, name: str, state: str, keep_s: int) -> None:
        """Cache which volume a path referred to, as of that ``volumes_state``."""
        if keep_s:
            self._redis.set(self._alias(subsystem, junction_path), f"{state} {name}", ex=keep_s)

    def set_unavailable(self, subsystem: str, *, unavailable: bool) -> None:
        """Record whether the storage system can be reached."""
        key = self._keys.unreachable(subsystem)
        if unavailable:
            self._redis.set(key, "1", px=UNAVAILABLE_MS)
        else:
            self._redis.delete(key)

    def _volumes(self, subsystem: str) -> str:
        return self._keys.listing(VOLUMES.cache_key(subsystem, {}))

    def _alias(self, subsystem: str, junction_path: str) -> str:
        return self._keys.alias(subsystem, junction_path.lower())


_FIELDS = ("base", "base_seq", "seq", "as_of", "count", "hash", "invalid", "parent_epoch", "epoch", "changed")


def _listing_version(cache_key: str, state: Mapping[str, str]) -> ListingVersion | None:
    if "base" not in state:
        return None
    base_seq, seq = int(state["base_seq"]), int(state["seq"])
    return ListingVersion(cache_key, state["base"], base_seq, seq, state.get("changed", "") if seq > base_seq else "")
