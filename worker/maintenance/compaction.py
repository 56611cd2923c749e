"""Compaction: writes a listing with many changes as a new base version, without a read from the storage system."""

from __future__ import annotations

from collections.abc import Sequence

from worker.catalog import resource_types as views
from worker.listings.repository import Listings, ReadMark
from worker.store.scripts import JobScripts

#: A listing with this many changes since its base is compacted.
COMPACT_AFTER_CHANGES = 2000


class Compaction:
    """A task of the maintenance loop, for the listings of whole subsystems; those of one volume stay small."""

    def __init__(
        self,
        listings: Listings,
        scripts: JobScripts,
        subsystems: Sequence[str],
        compact_after: int = COMPACT_AFTER_CHANGES,
    ) -> None:
        self._listings = listings
        self._scripts = scripts
        self._subsystems = subsystems
        self._fold_after = compact_after

    def __call__(self) -> None:
        for subsystem in self._subsystems:
            for resource_type in (views.VOLUMES, views.POLICIES):
                self._compact(resource_type, resource_type.cache_key(subsystem, {}))

    def _compact(self, resource_type: views.ResourceType, cache_key: str) -> None:
        listing_state = self._listings.listing_state(resource_type, cache_key)
        listing_version = listing_state.listing_version
        if (
            listing_version is None
            or listing_state.invalid
            or listing_version.seq - listing_version.base_seq < self._fold_after
        ):
            return
        listing = self._listings.load(listing_version)
        if listing is not None:
            started = ReadMark(cache_key, listing_state.as_of_ms, listing_version.seq, 0)
            step = self._listings.store(started, listing, replaces=listing_version.base)
            self._scripts.compact_listing(step)
