"""The in-process cache of listings; each is compared with the version in Redis before use."""

from __future__ import annotations

import threading
from collections import OrderedDict
from zlib import crc32

from worker.jobs.record import ListingVersion
from worker.listings.listing import Listing
from worker.listings.repository import Listings

_LOADING_LOCKS = 64


class ListingCache:
    """Caches current versions of listings, and superseded ones that are paged through, in bounded memory."""

    def __init__(self, listings: Listings, most_bytes: int) -> None:
        self._listings = listings
        self._most_bytes = most_bytes
        self._present: OrderedDict[str, tuple[ListingVersion, Listing]] = OrderedDict()
        self._former: OrderedDict[ListingVersion, Listing] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = [threading.Lock() for _ in range(_LOADING_LOCKS)]

    def get(self, listing_version: ListingVersion, *, superseded: bool = False) -> Listing | None:
        """Return that version of the listing; None when it is not in Redis any more.

        Args:
            listing_version: the version.
            superseded: the version may be an older one, which is cached beside the current one.
        """
        listing = self._cached(listing_version)
        if listing is not None:
            return listing
        with self._loading[crc32(listing_version.cache_key.encode()) % _LOADING_LOCKS]:
            listing = self._cached(listing_version) or self._updated(listing_version)
            if listing is None:
                present = self._present.get(listing_version.cache_key)
                listing = self._listings.load(listing_version, present[1] if present else None)
            if listing is not None:
                self._keep(listing_version, listing, superseded=superseded)
        return listing

    def _cached(self, listing_version: ListingVersion) -> Listing | None:
        with self._lock:
            cached = self._present.get(listing_version.cache_key)
            if cached is not None and cached[0] == listing_version:
                self._present.move_to_end(listing_version.cache_key)
                return cached[1]
            listing = self._former.get(listing_version)
            if listing is not None:
                self._former.move_to_end(listing_version)
            return listing

    def _updated(self, listing_version: ListingVersion) -> Listing | None:
        """Return the cached copy with the changes since then applied."""
        cached = self._present.get(listing_version.cache_key)
        if cached is None or not _same_base(cached[0], listing_version) or cached[0].seq >= listing_version.seq:
            return None
        changes = self._listings.changes(listing_version, cached[0])
        return None if changes is None else cached[1].with_changes(changes)

    def _keep(self, listing_version: ListingVersion, listing: Listing, *, superseded: bool) -> None:
        with self._lock:
            cached = self._present.get(listing_version.cache_key)
            if superseded or (
                cached and (cached[0].base_seq, cached[0].seq) > (listing_version.base_seq, listing_version.seq)
            ):
                self._former[listing_version] = listing
            else:
                self._present[listing_version.cache_key] = (listing_version, listing)
                self._present.move_to_end(listing_version.cache_key)
            self._make_room()

    def _make_room(self) -> None:
        memory_bytes = sum(listing.memory_bytes for _, listing in self._present.values())
        memory_bytes += sum(listing.memory_bytes for listing in self._former.values())
        while memory_bytes > self._most_bytes and self._former:
            memory_bytes -= self._former.popitem(last=False)[1].memory_bytes
        while memory_bytes > self._most_bytes and len(self._present) > 1:
            memory_bytes -= self._present.popitem(last=False)[1][1].memory_bytes


def _same_base(one: ListingVersion, other: ListingVersion) -> bool:
    return (one.base, one.base_seq) == (other.base, other.base_seq)
