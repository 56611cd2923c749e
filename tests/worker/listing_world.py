"""A filer, its cached listing and those who read it, step by step in any order; a model says what a read may show."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import orjson
from redis import Redis

from worker.catalog import resource_types as views
from worker.config.settings import Settings
from worker.jobs.record import Generation
from worker.listings.listing import Listing, Record
from worker.listings.process_cache import HotListings
from worker.listings.repository import Listings, Started
from worker.maintenance.compaction import Folding
from worker.store import client as redis_access
from worker.store.client import Scripts

NAMES = "abcdef"
PLACE = {"volume": "v"}
THING = views.SNAPSHOTS.thing("f", PLACE)

Contents = dict[str, int]


@dataclass
class Flight:
    """A listing under way: what it has seen so far."""

    started: Started
    todo: list[str]
    seen: list[Record] = field(default_factory=list)


class World:
    """Changes come in two steps (on the filer, and told), listings page by page; of each name one change at a time."""

    def __init__(self, client: Redis, seed: int, edit: Callable[[str], str] = str) -> None:
        client.flushall()
        self.dice = random.Random(seed)
        self.redis = client
        settings = Settings()
        self.scripts = Scripts(client, settings.key_prefix)
        if edit is not str:
            self._mutate(edit)
        self.listings = Listings(client, self.scripts, settings)
        self.hots = [HotListings(self.listings, most) for most in (0, 10**9)]
        source = "".join((files("worker.store") / "lua" / part).read_text() for part in ("prelude.lua", "views.lua"))
        self.steps = client.register_script(edit(source) + "change_views(cjson.decode(ARGV[1]))")
        self.folding = Folding(self.listings, self.scripts, [], fold_after=1)
        self.filer: Contents = dict.fromkeys(NAMES[:4], 0)
        self.told: Contents = dict(self.filer)
        self.untold: dict[str, bool] = {}
        self.count = 0
        self.flight: Flight | None = None
        self.single: tuple[Started, str, int | None] | None = None
        self.tokens: list[tuple[Generation, list[Record]]] = []
        self.hits = 0

    def _mutate(self, edit: Callable[[str], str]) -> None:
        for name in ("begin", "fold"):
            self.scripts._registered[name] = self.redis.register_script(edit(redis_access._source(name)))

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
        """A change happens on the filer."""
        name = self.dice.choice(NAMES)
        if name in self.untold:
            return
        self.count += 1
        if name in self.filer and self.dice.random() < 0.4:
            del self.filer[name]
        else:
            self.filer[name] = self.count
        self.untold[name] = False

    def tell(self) -> None:
        """The job of a change says succeeded."""
        if not self.untold:
            return
        name = self.dice.choice(sorted(self.untold))
        doubtful = self.untold.pop(name)
        value = self.filer.get(name)
        one = views.SNAPSHOT.thing("f", PLACE | {"name": name})
        if doubtful:
            steps = [self.listings.step("reread", THING)]
        elif value is None:
            steps = [self.listings.step("drop", THING, name), self.listings.step("reread", one)]
        else:
            text = orjson.dumps(_record(name, value)).decode()
            steps = [self.listings.step("put", thing, name, text) for thing in (THING, one)]
        self.steps(keys=["sapi:"], args=[json.dumps(steps)])
        self.told.pop(name, None)
        if value is not None:
            self.told[name] = value

    def roll_back(self) -> None:
        """A change whose effect is not known: the listing must be read again."""
        name = self.dice.choice(NAMES)
        if name not in self.untold:
            self.change()
            if name in self.untold:
                self.untold[name] = True

    # --- reads of the filer

    def list(self) -> None:
        """A listing begins, or sees one more name, or becomes the base."""
        if self.flight is None:
            started = self.listings.begin(views.SNAPSHOTS, THING, "", 600_000)
            self.flight = Flight(started, list(NAMES))
        elif self.flight.todo:
            for name in self.flight.todo[:2]:
                if name in self.filer:
                    self.flight.seen.append(_record(name, self.filer[name]))
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
                views.SNAPSHOT, views.SNAPSHOT.thing("f", PLACE | {"name": name}), THING, 600_000
            )
            self.single = started, name, self.filer.get(name)
        else:
            started, name, value = self.single
            if value is not None:
                self._commit(started, Listing.of("name", [_record(name, value)], ordered=False))
            self.single = None

    def _commit(self, started: Started, listing: Listing) -> None:
        self.steps(keys=["sapi:"], args=[json.dumps([self.listings.store(started, listing)])])

    def fold(self) -> None:
        """Changes are folded into a new base."""
        self.folding._fold(views.SNAPSHOTS, THING)

    def forget(self) -> None:
        """What lives long enough is forgotten."""
        if self.dice.random() < 0.05:
            self.redis.delete(self.dice.choice([f"sapi:view:{THING}", f"sapi:log:{THING}"]))

    # --- reads of the cache, and what they may show

    def read(self) -> None:
        """A client reads the collection, and may keep a page token."""
        standing = self.listings.standing(views.SNAPSHOTS, THING)
        listing = self._shown(standing.usable, standing.generation)
        if listing is None:
            return
        shown = {record["name"]: record["value"] for record in listing.records}
        assert len(shown) == listing.count, "a name is there twice"
        for name in NAMES:
            self._check(name, shown.get(name))
        assert standing.generation is not None
        self.tokens.append((standing.generation, listing.records))

    def read_one(self) -> None:
        """A client reads one object."""
        name = self.dice.choice(NAMES)
        standing = self.listings.standing(views.SNAPSHOT, views.SNAPSHOT.thing("f", PLACE | {"name": name}), THING)
        listing = self._shown(standing.usable, standing.generation)
        if listing is not None:
            found = listing.find(name)
            self._check(name, found["value"] if found else None)

    def page(self) -> None:
        """A client goes on with a page token."""
        if self.tokens:
            generation, records = self.dice.choice(self.tokens)
            found = self.dice.choice(self.hots).get(generation, former=True)
            assert found is None or found.records == records, "a page token shows another state"

    def _shown(self, usable: bool, generation: Generation | None) -> Listing | None:
        if not usable or generation is None:
            return None
        listing = self.dice.choice(self.hots).get(generation)
        self.hits += listing is not None
        return listing

    def _check(self, name: str, value: int | None) -> None:
        allowed: set[Any] = {self.told.get(name)}
        if name in self.untold:
            allowed.add(self.filer.get(name))
        assert value in allowed, f"{name} is shown as {value}, but is {allowed}"


def _record(name: str, value: int) -> Record:
    return {"name": name, "value": value}
