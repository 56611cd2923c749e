"""Folds the changes that lie over a listing into a new base, when there are many: without asking the storage system."""

from __future__ import annotations

from collections.abc import Sequence

from worker.catalog import resource_types as views
from worker.listings.repository import Listings, Started
from worker.store.client import Scripts

#: So many changes over one base are folded into a new one.
FOLD_AFTER = 2000


class Folding:
    """A chore of the sweeper, for the listings of whole subsystems; those of one volume stay small."""

    def __init__(
        self, listings: Listings, scripts: Scripts, subsystems: Sequence[str], fold_after: int = FOLD_AFTER
    ) -> None:
        self._listings = listings
        self._scripts = scripts
        self._subsystems = subsystems
        self._fold_after = fold_after

    def __call__(self) -> None:
        for subsystem in self._subsystems:
            for view in (views.VOLUMES, views.POLICIES):
                self._fold(view, view.thing(subsystem, {}))

    def _fold(self, view: views.View, thing: str) -> None:
        standing = self._listings.standing(view, thing)
        generation = standing.generation
        if generation is None or standing.invalid or generation.seq - generation.base_seq < self._fold_after:
            return
        listing = self._listings.load(generation)
        if listing is not None:
            started = Started(thing, standing.as_of_ms, generation.seq, 0)
            step = self._listings.store(started, listing, replaces=generation.base)
            self._scripts.fold(step)
