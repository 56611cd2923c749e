"""The copies of listings in a process: which is loaded again, which is updated by changes, and which is evicted."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from worker.jobs.record import ListingVersion
from worker.listings.listing import Change, Listing
from worker.listings.process_cache import ListingCache

_RECORDS = [{"name": f"v{number:04}", "comment": f"{number * 7919 % 10007}"} for number in range(300)]
_PACKED = Listing.of("name", [*_RECORDS], ordered=True).pack()


class Store:
    """Listings of one size, and the requests for them."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, int, int]] = []
        self.likes: list[Listing | None] = []

    def load(self, version: ListingVersion, like: Listing | None = None) -> Listing | None:
        self.requests.append((version.cache_key, version.base_seq, version.seq))
        self.likes.append(like)
        return None if version.base == "gone" else Listing.unpack(_PACKED, like)

    def changes(self, version: ListingVersion, after: ListingVersion) -> list[Change] | None:
        after_seq = after.seq
        if version.seq > 90:
            return None
        texts = [orjson.dumps({"name": "new", "seq": seq}) for seq in range(after_seq + 1, version.seq + 1)]
        self.requests.append(("changes", after_seq, version.seq))
        return [Change("new", text) for text in texts]

    def take(self) -> list[tuple[str, int, int]]:
        """The requests since the last call."""
        requests, self.requests = self.requests, []
        return requests


def _version(cache_key: str, seq: int = 1, base_seq: int = 1, base: str = "base") -> ListingVersion:
    return ListingVersion(cache_key, base, base_seq, seq)


@pytest.fixture
def store() -> Store:
    return Store()


def _cache(store: Any, most: float) -> ListingCache:
    """A cache for so many listings."""
    return ListingCache(store, int(Listing.unpack(_PACKED).memory_bytes * most))


def test_a_version_is_read_once_and_carried_forward_by_its_changes(store: Store):
    cache = _cache(store, 9)
    first = cache.get(_version("a"))
    assert cache.get(_version("a")) is first
    assert store.take() == [("a", 1, 1)]
    later = cache.get(_version("a", seq=4))
    assert later
    assert later.find("new") == {"name": "new", "seq": 4}
    assert cache.get(_version("a", seq=6)) is not None
    assert store.take() == [("changes", 1, 4), ("changes", 4, 6)]
    # Another base, an equal one that began at another change, and changes that have expired.
    for version in (_version("a", 6, base="other"), _version("a", 7, 7, base="other"), _version("a", 91, 7, "other")):
        assert cache.get(version) is not None
        assert store.take() == [("a", version.base_seq, version.seq)]
        assert store.likes[-1] is not None
    assert cache.get(_version("a", 99, base="gone")) is None


def test_a_thread_that_waited_uses_the_version_of_the_other(store: Store):
    cache = _cache(store, 9)
    version, listing = _version("a"), Listing.unpack(_PACKED)

    class FakeEvent:
        """A lock that is free once the other thread has read the listing."""

        def __enter__(self) -> None:
            cache._keep(version, listing, superseded=False)

        def __exit__(self, *_: object) -> None:
            pass

    locks: Any = [FakeEvent()] * len(cache._loading)
    cache._loading = locks
    assert cache.get(version) is listing
    assert store.take() == []


def test_an_older_version_does_not_replace_the_present_one(store: Store):
    cache = _cache(store, 9)
    present = cache.get(_version("a", seq=5, base_seq=5))
    older = cache.get(_version("a", seq=3))
    assert store.take() == [("a", 5, 5), ("a", 1, 3)]
    assert cache.get(_version("a", seq=5, base_seq=5)) is present
    assert cache.get(_version("a", seq=3)) is older
    superseded = cache.get(_version("a", seq=9, base_seq=9), superseded=True)
    assert store.take() == [("a", 9, 9)]
    assert cache.get(_version("a", seq=5, base_seq=5)) is present
    assert cache.get(_version("a", seq=9, base_seq=9)) is superseded
    assert store.take() == []


def test_the_least_recently_used_listing_is_evicted(store: Store):
    cache = _cache(store, 2.5)
    for cache_key in "abac":
        assert cache.get(_version(cache_key)) is not None
    store.take()
    for cache_key in "acb":
        assert cache.get(_version(cache_key)) is not None
    assert store.take() == [("b", 1, 1)]


def test_a_listing_that_a_change_has_brought_forward_was_used(store: Store):
    changed = Listing.unpack(_PACKED).with_changes([Change("new", b'{"name":"new","seq":2}')])
    cache = _cache(store, 1.5 + changed.memory_bytes / Listing.unpack(_PACKED).memory_bytes)
    for version in (_version("a"), _version("b"), _version("a", seq=2), _version("c")):
        assert cache.get(version) is not None
    store.take()
    for version in (_version("a", seq=2), _version("c")):
        assert cache.get(version) is not None
    assert store.take() == []


def test_superseded_listings_are_evicted_first(store: Store):
    cache = _cache(store, 3.5)
    assert cache.get(_version("a", seq=9)) is not None
    for seq in (1, 2, 1, 3):
        assert cache.get(_version("a", seq=seq), superseded=True) is not None
    store.take()
    for seq in (9, 1, 3):
        assert cache.get(_version("a", seq=seq), superseded=True) is not None
    assert store.take() == []
    assert cache.get(_version("a", seq=2), superseded=True) is not None
    assert store.take() == [("a", 1, 2)]


def test_one_listing_is_cached_whatever_its_size(store: Store):
    cache = _cache(store, 0.5)
    for cache_key in "aab":
        assert cache.get(_version(cache_key)) is not None
    assert store.take() == [("a", 1, 1), ("b", 1, 1)]
    for cache_key in "ba":
        assert cache.get(_version(cache_key)) is not None
    assert store.take() == [("a", 1, 1)]
    # A superseded one that does not fit is read, and not cached.
    for _ in range(2):
        assert cache.get(_version("c"), superseded=True) is not None
    assert store.take() == [("c", 1, 1)] * 2


def test_the_size_of_a_listing_includes_its_serialized_forms():
    listing = Listing.unpack(_PACKED)
    packed = listing.memory_bytes
    body, zipped = len(listing.body), len(listing.gzip)
    assert listing.memory_bytes == packed + body + zipped
    assert listing.find("v0001")
    assert listing.memory_bytes > packed + body + zipped + 2 * 256 * 20
