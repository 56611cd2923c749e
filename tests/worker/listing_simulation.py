"""A filer, its cached listing and its readers, step by step in any order; a model says what a read may return."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import orjson
from redis import Redis

from worker.catalog import resource_types as views
from worker.config.settings import Settings
from worker.jobs.record import ListingVersion
from worker.listings.listing import Listing, Record
from worker.listings.process_cache import ListingCache
from worker.listings.repository import Listings, ReadMark
from worker.maintenance.compaction import Compaction
from worker.store.script_runner import script_source
from worker.store.scripts import JobScripts

NAMES = "abcdef"
PLACE = {"volume": "v"}
CACHE_KEY = views.SNAPSHOTS.cache_key("f", PLACE)

Contents = dict[str, int]


@dataclass
class Flight:
    """A listing under way: what it has seen so far."""

    started: ReadMark
    todo: list[str]
    seen: list[Record] = field(default_factory=list)


class ListingSimulation:
    """Changes come in two steps (filer, and cache), listings page by page; of each name one change at a time."""

    def __init__(self, client: Redis, seed: int, edit: Callable[[str], str] = str) -> None:
        client.flushall()
        self.dice = random.Random(seed)
        self.redis = client
        settings = Settings()
        self.scripts = JobScripts(client, settings.key_prefix)
        if edit is not str:
            self._mutate(edit)
        self.listings = Listings(client, self.scripts, settings)
        self.caches = [ListingCache(self.listings, most) for most in (0, 10**9)]
        source = "".join(
            (files("worker.store") / "lua" / part).read_text()
            for part in ("record_functions.lua", "index_functions.lua", "job_functions.lua", "listing_functions.lua")
        )
        self.steps = client.register_script(edit(source) + "update_listings(cjson.decode(ARGV[1]))")
        self.folding = Compaction(self.listings, self.scripts, [], compact_after=1)
        self.gateway: Contents = dict.fromkeys(NAMES[:4], 0)
        self.reported: Contents = dict(self.gateway)
        self.unreported: dict[str, bool] = {}
        self.count = 0
        self.flight: Flight | None = None
        self.single: tuple[ReadMark, str, int | None] | None = None
        self.tokens: list[tuple[ListingVersion, list[Record]]] = []
        self.hits = 0
        #: Of the page tokens that were used, those of listings that are kept no longer.
        self.expired = 0
        self.paged = 0

    def _mutate(self, edit: Callable[[str], str]) -> None:
        for name in ("begin_read", "compact_listing"):
            self.scripts.registered[name] = self.redis.register_script(edit(script_source(name)))

    def run(self, steps: int) -> None:
        """Take so many steps."""
        possible = [
            self.change,
            self.change,
            self.tell,
            self.tell,
            self.list,
            self.list,
            self.list,
            self.read,
            self.read,
        ]
        possible += [self.read, self.read_one, self.read_one, self.look, self.look, self.fold, self.page, self.forget]
        possible += [self.roll_back]
        for _ in range(steps):
            self.dice.choice(possible)()

    # --- changes

    def change(self) -> None:
        """A change is made on the filer."""
        name = self.dice.choice(NAMES)
        if name in self.unreported:
            return
        self.count += 1
        if name in self.gateway and self.dice.random() < 0.4:
            del self.gateway[name]
        else:
            self.gateway[name] = self.count
        self.unreported[name] = False

    def tell(self) -> None:
        """The job of a change says succeeded."""
        if not self.unreported:
            return
        name = self.dice.choice(sorted(self.unreported))
        doubtful = self.unreported.pop(name)
        value = self.gateway.get(name)
        one = views.SNAPSHOT.cache_key("f", PLACE | {"name": name})
        if doubtful:
            steps = [self.listings.step("invalidate", CACHE_KEY)]
        elif value is None:
            steps = [self.listings.step("delete", CACHE_KEY, name), self.listings.step("invalidate", one)]
        else:
            text = orjson.dumps(_record(name, value)).decode()
            steps = [self.listings.step("upsert", cache_key, name, text) for cache_key in (CACHE_KEY, one)]
        self.steps(keys=["sapi:"], args=[json.dumps(steps)])
        self.reported.pop(name, None)
        if value is not None:
            self.reported[name] = value

    def roll_back(self) -> None:
        """A change whose effect is not known: the listing must be read again."""
        name = self.dice.choice(NAMES)
        if name not in self.unreported:
            self.change()
            if name in self.unreported:
                self.unreported[name] = True

    # --- reads of the filer

    def list(self) -> None:
        """A listing begins, or sees one more name, or becomes the base."""
        if self.flight is None:
            started = self.listings.begin(views.SNAPSHOTS, CACHE_KEY, "", 600_000)
            self.flight = Flight(started, list(NAMES))
        elif self.flight.todo:
            for name in self.flight.todo[:2]:
                if name in self.gateway:
                    self.flight.seen.append(_record(name, self.gateway[name]))
            del self.flight.todo[:2]
        else:
            listing = Listing.of("name", self.flight.seen, ordered=False)
            self._commit(self.flight.started, listing)
            self.flight = None

    def look(self) -> None:
        """A look-up of one name begins, or is done."""
        if self.single is None:
            name = self.dice.choice(NAMES)
            started = self.listings.begin(
                views.SNAPSHOT, views.SNAPSHOT.cache_key("f", PLACE | {"name": name}), CACHE_KEY, 600_000
            )
            self.single = started, name, self.gateway.get(name)
        else:
            started, name, value = self.single
            if value is not None:
                self._commit(started, Listing.of("name", [_record(name, value)], ordered=False))
            self.single = None

    def _commit(self, started: ReadMark, listing: Listing) -> None:
        self.steps(keys=["sapi:"], args=[json.dumps([self.listings.store(started, listing)])])

    def fold(self) -> None:
        """Changes are folded into a new base."""
        self.folding._compact(views.SNAPSHOTS, CACHE_KEY)

    def forget(self) -> None:
        """Keys expire."""
        if self.dice.random() < 0.05:
            last_seq = int(self.redis.hget(f"sapi:listing:{CACHE_KEY}", "seq") or 0)
            self.redis.delete(self.dice.choice([f"sapi:listing:{CACHE_KEY}", f"sapi:delta:{CACHE_KEY}"]))
            # Numbers begin at the time in milliseconds. Only this test makes more than a thousand changes a second, and
            # would get numbers that it has had before.
            while self._now_ms() <= last_seq:
                time.sleep(0.001)

    def _now_ms(self) -> int:
        seconds, microseconds = self.redis.time()
        return seconds * 1000 + microseconds // 1000

    # --- reads of the cache, and what they may show

    def read(self) -> None:
        """A client reads the collection, and may keep a page token."""
        listing_state = self.listings.listing_state(views.SNAPSHOTS, CACHE_KEY)
        listing = self._shown(listing_state.usable, listing_state.listing_version)
        if listing is None:
            return
        job_status = {record["name"]: record["value"] for record in listing.records}
        assert len(job_status) == listing.count, "a name is there twice"
        for name in NAMES:
            self._check(name, job_status.get(name))
        assert listing_state.listing_version is not None
        self.tokens.append((listing_state.listing_version, listing.records))

    def read_one(self) -> None:
        """A client reads one object."""
        name = self.dice.choice(NAMES)
        listing_state = self.listings.listing_state(
            views.SNAPSHOT, views.SNAPSHOT.cache_key("f", PLACE | {"name": name}), CACHE_KEY
        )
        listing = self._shown(listing_state.usable, listing_state.listing_version)
        if listing is not None:
            record = listing.find(name)
            self._check(name, record["value"] if record else None)

    def page(self) -> None:
        """A client goes on with a page token."""
        if self.tokens:
            listing_version, records = self.dice.choice(self.tokens)
            listing = self.dice.choice(self.caches).get(listing_version, superseded=True)
            self.paged += 1
            self.expired += listing is None
            assert listing is None or listing.records == records, "a page token shows another state"

    def _shown(self, usable: bool, listing_version: ListingVersion | None) -> Listing | None:
        if not usable or listing_version is None:
            return None
        listing = self.dice.choice(self.caches).get(listing_version)
        self.hits += listing is not None
        return listing

    def _check(self, name: str, value: int | None) -> None:
        allowed: set[Any] = {self.reported.get(name)}
        if name in self.unreported:
            allowed.add(self.gateway.get(name))
        assert value in allowed, f"{name} is shown as {value}, but is {allowed}"


def _record(name: str, value: int) -> Record:
    return {"name": name, "value": value}
