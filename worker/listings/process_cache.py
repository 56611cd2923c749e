"""Listings kept in this process, each checked against Redis's generation before it is used: never stale."""

from __future__ import annotations

import threading
from collections import OrderedDict
from zlib import crc32

from worker.jobs.record import Generation
from worker.listings.listing import Listing
from worker.listings.repository import Listings

_LOADING_LOCKS = 64


class HotListings:
    """The present state of listings, and former states that are paged through, in a bounded amount of memory."""

    def __init__(self, listings: Listings, most_bytes: int) -> None:
        self._listings = listings
        self._most_bytes = most_bytes
        self._present: OrderedDict[str, tuple[Generation, Listing]] = OrderedDict()
        self._former: OrderedDict[Generation, Listing] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = [threading.Lock() for _ in range(_LOADING_LOCKS)]

    def get(self, generation: Generation, *, former: bool = False) -> Listing | None:
        """Return that very state of the listing; None when Redis keeps it no longer.

        Args:
            generation: which state.
            former: it may be one that is past, whose place is beside the present one.
        """
        listing = self._held(generation)
        if listing is not None:
            return listing
        with self._loading[crc32(generation.thing.encode()) % _LOADING_LOCKS]:
            listing = self._held(generation) or self._advanced(generation)
            if listing is None:
                present = self._present.get(generation.thing)
                listing = self._listings.load(generation, present[1] if present else None)
            if listing is not None:
                self._keep(generation, listing, former=former)
        return listing

    def _held(self, generation: Generation) -> Listing | None:
        with self._lock:
            kept = self._present.get(generation.thing)
            if kept is not None and kept[0] == generation:
                self._present.move_to_end(generation.thing)
                return kept[1]
            listing = self._former.get(generation)
            if listing is not None:
                self._former.move_to_end(generation)
            return listing

    def _advanced(self, generation: Generation) -> Listing | None:
        """The copy at hand, brought up to date by the changes made since."""
        kept = self._present.get(generation.thing)
        if kept is None or not _same_base(kept[0], generation) or kept[0].seq > generation.seq:
            return None
        changes = self._listings.changes(generation, kept[0].seq)
        return None if changes is None else kept[1].with_changes(changes)

    def _keep(self, generation: Generation, listing: Listing, *, former: bool) -> None:
        with self._lock:
            kept = self._present.get(generation.thing)
            if former or (kept and (kept[0].base_seq, kept[0].seq) > (generation.base_seq, generation.seq)):
                self._former[generation] = listing
            else:
                self._present[generation.thing] = (generation, listing)
                self._present.move_to_end(generation.thing)
            self._make_room()

    def _make_room(self) -> None:
        held_bytes = sum(listing.held_bytes for _, listing in self._present.values())
        held_bytes += sum(listing.held_bytes for listing in self._former.values())
        while held_bytes > self._most_bytes and self._former:
            held_bytes -= self._former.popitem(last=False)[1].held_bytes
        while held_bytes > self._most_bytes and len(self._present) > 1:
            held_bytes -= self._present.popitem(last=False)[1][1].held_bytes


def _same_base(one: Generation, other: Generation) -> bool:
    return (one.base, one.base_seq) == (other.base, other.base_seq)
