"""What the scripts of listings store, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.worker.listings.test_listings import VOLUMES, Harness
from worker.catalog import resource_types as views
from worker.jobs.record import ListingVersion
from worker.listings.listing import Listing
from worker.listings.process_cache import ListingCache
from worker.listings.repository import ListingState
from worker.maintenance.compaction import Compaction

_LISTING, _DELTA, _OLD = (f"sapi:{kind}:{VOLUMES}" for kind in ("listing", "delta", "old"))


def _numbers(client) -> list[int]:
    """The numbers of the changes in the delta log."""
    return [int(entry.partition(b"-")[0]) for entry, _ in client.xrange(_DELTA)]


def test_without_a_listing_no_change_is_stored(redis_client):
    harness = Harness(redis_client)
    harness.put("a")
    assert not redis_client.exists(_DELTA)
    assert redis_client.pttl(_LISTING) > 0
    # A read that began long ago and never ended does not count either.
    harness.begin()
    redis_client.hset(_LISTING, "logging", 1)
    harness.put("b")
    assert not redis_client.exists(_DELTA)


@pytest.mark.parametrize("later", [0, 1])
def test_repeated_numbers_after_a_restore_are_other_versions(redis_client, later: int):
    harness = Harness(redis_client)
    cache = ListingCache(harness.listings, 10_000_000)
    harness.commit(harness.begin(), "a")
    harness.put("kept")
    copy = {key: (max(0, redis_client.pttl(key)), redis_client.dump(key)) for key in redis_client.keys("*")}
    harness.put("lost")
    lost, lost_tag = harness.listing_version(), harness.listings.listing_state(views.VOLUMES, VOLUMES).etag
    former = cache.get(lost)
    assert former
    assert former.find("lost")
    redis_client.flushdb()
    for key, (left_ms, value) in copy.items():
        redis_client.restore(key, left_ms, value)
    for name in ("new", "more")[: 1 + later]:
        harness.put(name)
    version = harness.listing_version()
    assert version.seq == lost.seq + later
    assert harness.listings.listing_state(views.VOLUMES, VOLUMES).etag != lost_tag
    listing = cache.get(version)
    assert listing
    assert [record["name"] for record in listing.records] == sorted(["a", "kept", "new", *["more"][:later]])


def test_a_version_is_made_of_an_earlier_one_by_the_changes_after_that(redis_client):
    harness = Harness(redis_client)
    harness.commit(harness.begin(), "a")
    harness.put("early")
    harness.commit(harness.begin(), "a", "early")
    versions = [harness.listing_version()]
    assert versions[0].changed == ""
    # What came before the base is not needed.
    redis_client.delete(_DELTA)
    assert harness.listings.changes(versions[0]) == []
    for name in ("b", "c"):
        harness.put(name)
        versions.append(harness.listing_version())
    added = {version: harness.listings.changes(versions[2], version) for version in versions}
    assert [[change.key for change in added[version] or ()] for version in versions] == [["b", "c"], ["c"], []]
    for key, version in ((_DELTA, versions[2]), (f"sapi:base:{VOLUMES}:{versions[0].base}", versions[0])):
        assert harness.listings.load(version) is not None
        redis_client.delete(key)
        assert harness.listings.load(version) is None


def test_changes_beyond_a_limit_end_the_base(redis_client):
    harness = Harness(redis_client)
    harness.commit(harness.begin(), "a")
    seq = harness.listing_version().seq
    with redis_client.pipeline() as pipe:
        for number in range(1, 10_000):
            pipe.xadd(_DELTA, {"k": "x", "v": ""}, id=f"{seq + number}-0")
        pipe.hset(_LISTING, "seq", seq + 9_999)
        pipe.execute()
    harness.put("b")
    assert redis_client.xlen(_DELTA) == 10_000
    assert harness.listing_version().seq == seq + 10_000
    harness.put("c")
    assert not redis_client.exists(_DELTA)
    assert harness.listings.listing_state(views.VOLUMES, VOLUMES).listing_version is None


def test_an_invalidated_listing_is_read_again_and_not_joined(redis_client):
    harness = Harness(redis_client)
    harness.commit(harness.begin(), "a")
    started = harness.begin()
    redis_client.set(f"sapi:inflight:{VOLUMES}", "job")
    seq = harness.listing_version().seq
    harness.take(harness.listings.step("invalidate", VOLUMES))
    state = harness.listings.listing_state(views.VOLUMES, VOLUMES)
    assert (state.invalid, state.inflight, harness.listing_version().seq) == (True, "", seq + 1)
    assert redis_client.hget(_LISTING, "epoch")
    # A read that began before leaves it so; one that began after ends it.
    harness.commit(started, "b")
    assert harness.listings.listing_state(views.VOLUMES, VOLUMES).invalid
    harness.commit(harness.begin(), "c")
    assert not harness.listings.listing_state(views.VOLUMES, VOLUMES).invalid


def test_an_older_listing_does_not_replace_a_newer_one(redis_client):
    harness = Harness(redis_client)
    older = harness.begin()
    harness.put("x")
    harness.simulation.scripts.begin_read(VOLUMES, VOLUMES, 600_000)
    newer = replace(older, as_of_ms=older.as_of_ms + 1)
    harness.commit(newer, "new")
    harness.commit(older, "old")
    assert harness.job_status() == ["new", "x"]
    # Of two that began in the same millisecond the last one counts.
    harness.commit(newer, "same")
    assert harness.job_status() == ["same", "x"]


def test_a_listing_from_before_the_clock_was_set_back_is_replaced(redis_client):
    harness = Harness(redis_client)
    started = harness.begin()
    harness.commit(replace(started, as_of_ms=started.as_of_ms + 3_600_000), "before")
    harness.commit(harness.begin(), "after")
    assert harness.job_status() == ["after"]


def test_bases_that_are_paged_through_keep_their_changes_for_their_time(redis_client):
    harness = Harness(redis_client, old_listing_ttl=100)
    harness.commit(harness.begin(), "a")
    first = harness.listing_version()
    for name in ("b", "c"):
        harness.put(name)
        harness.commit(harness.begin(), *harness.job_status())
    assert _numbers(redis_client) == [first.seq + 1, first.seq + 2]
    assert redis_client.zrange(_OLD, 0, 0)[0].decode().partition(" ")[0] == first.base
    assert 50_000 < redis_client.pttl(f"sapi:base:{VOLUMES}:{first.base}") <= 100_000
    assert redis_client.pttl(f"sapi:base:{VOLUMES}:{harness.listing_version().base}") > 100_000
    # The first one's time is over: its change goes with it.
    redis_client.zadd(_OLD, {redis_client.zrange(_OLD, 0, 0)[0]: 1})
    harness.commit(harness.begin(), "d")
    assert _numbers(redis_client) == [first.seq + 2]


def test_a_fold_keeps_the_changes_for_the_read_that_is_under_way(redis_client):
    harness = Harness(redis_client, old_listing_ttl=1)
    harness.commit(harness.begin(), "a")
    started = harness.begin()
    harness.put("b")
    Compaction(harness.listings, harness.simulation.scripts, ["f"], compact_after=1)()
    redis_client.delete(_OLD)
    harness.put("c")
    Compaction(harness.listings, harness.simulation.scripts, ["f"], compact_after=1)()
    harness.commit(started, "a")
    assert harness.job_status() == ["a", "b", "c"]


def test_a_listing_that_expired_begins_with_new_numbers(redis_client):
    harness = Harness(redis_client)
    harness.commit(harness.begin(), "a")
    seq = harness.listing_version().seq
    harness.commit(replace(harness.begin(), seq=seq + 5), "b")
    # Its numbers go on behind all that the reader has seen, and never back.
    assert harness.listing_version().seq == seq + 5
    harness.commit(replace(harness.begin(), seq=seq + 1), "c")
    assert harness.listing_version().seq == seq + 5


def test_a_read_that_failed_is_forgotten_unless_more_is_known(redis_client):
    harness = Harness(redis_client)
    harness.begin()
    assert 500_000 < redis_client.pttl(_LISTING) <= 600_000
    harness.listings.abandon(VOLUMES)
    assert not redis_client.exists(_LISTING)
    harness.begin()
    harness.put("a")
    harness.listings.abandon(VOLUMES)
    assert redis_client.exists(_LISTING)
    redis_client.delete(_LISTING)
    harness.commit(harness.begin(), "a")
    harness.begin()
    harness.listings.abandon(VOLUMES)
    assert harness.job_status() == ["a"]
    for field in ("base", "epoch", "invalid"):
        redis_client.delete(_LISTING)
        harness.begin()
        redis_client.hset(_LISTING, field, 1)
        harness.listings.abandon(VOLUMES)
        assert redis_client.exists(_LISTING)


def test_a_time_to_live_is_never_shortened(redis_client):
    scripts = Harness(redis_client).simulation.scripts
    redis_client.set("sapi:x", "1", px=5_000)
    scripts.extend_ttl("sapi:x", 1_000)
    assert redis_client.pttl("sapi:x") > 1_000
    scripts.extend_ttl("sapi:x", 60_000)
    assert redis_client.pttl("sapi:x") > 50_000


def test_a_base_that_is_stored_again_lives_until_its_job_has_ended(redis_client):
    harness = Harness(redis_client, old_listing_ttl=100)
    listing = Listing.of("name", [{"name": "a"}], ordered=True)
    key = f"sapi:base:{VOLUMES}:{harness.listings.store(harness.begin(), listing)['base']}"
    assert 50_000 < redis_client.pttl(key) <= 100_000
    for ttl_ms, at_least in ((5_000, 50_000), (10**7, 9_000_000)):
        redis_client.pexpire(key, ttl_ms)
        step = harness.listings.store(harness.begin(), listing, keep_ms=5)
        assert at_least < redis_client.pttl(key)
    assert (step["keep_ms"], step["page_ms"], step["count"]) == (5, 100_000, 1)


def test_an_object_is_usable_until_its_collection_must_be_read_again(redis_client):
    harness = Harness(redis_client)
    volume = views.VOLUME.cache_key("f", {"volume": "v"})
    harness.take(harness.listings.step("invalidate", VOLUMES))
    for _ in range(2):
        started = harness.listings.begin(views.VOLUME, volume, VOLUMES, 600_000)
        harness.take(harness.listings.store(started, Listing.of("name", [{"name": "v"}], ordered=False)))
        assert harness.listings.listing_state(views.VOLUME, volume, VOLUMES).usable
        harness.take(harness.listings.step("invalidate", VOLUMES))
        assert not harness.listings.listing_state(views.VOLUME, volume, VOLUMES).usable
    assert harness.begin().parent_epoch == 0


def test_the_age_and_the_tag_of_a_state():
    state = ListingState("k", 10_999, ListingVersion("k", "base", 5, 5), as_of_ms=5_000, hash="digest")
    assert (state.age_s, state.etag, state.usable) == (5, "digest", True)
    tags = {
        replace(state, hash=digest, listing_version=ListingVersion("k", "base", base_seq, seq)).etag
        for digest in ("digest", "other")
        for base_seq, seq in ((5, 6), (5, 7), (4, 7))
    }
    assert tags == {f"{digest}-{numbers}" for digest in ("digest", "other") for numbers in ("5-6", "5-7", "4-7")}
    # Of one from the future it is not known.
    ages = [replace(state, as_of_ms=as_of_ms, unknown_age_ms=61_000).age_s for as_of_ms in (10_999, 11_000)]
    assert ages == [0, 61]
    # A read includes earlier changes, and whatever else happened before it.
    assert [replace(state, changed_ms=moment).modified_ms for moment in (0, 4_999, 5_001)] == [5_000, 5_000, 5_001]
    assert not replace(state, invalid=True).usable
    none = replace(state, listing_version=None)
    assert (none.usable, none.etag) == (False, "")


def test_a_state_says_who_reads_it_and_whether_its_storage_system_is_away(redis_client):
    listings = Harness(redis_client).listings
    snapshots = views.SNAPSHOTS.cache_key("f", {"volume": "v"})
    for inflight, is_away in (("", False), ("job", True), ("job", False)):
        redis_client.set(f"sapi:inflight:{snapshots}", "job") if inflight else None
        listings.set_unavailable("f", unavailable=is_away)
        state = listings.listing_state(views.SNAPSHOTS, snapshots)
        assert (state.inflight, state.unavailable) == (inflight, is_away)
        assert not is_away or 14_000 < redis_client.pttl("sapi:unreachable:f") <= 15_000


def test_a_listing_from_the_future_is_stale(redis_client):
    harness = Harness(redis_client, cache_fresh=30)
    started = harness.begin()
    harness.commit(replace(started, as_of_ms=started.as_of_ms + 3_600_000), "before")
    assert harness.listings.listing_state(views.VOLUMES, VOLUMES).age_s == 31


def test_every_key_of_a_listing_expires_after_the_keep_time(redis_client):
    harness, day_ms = Harness(redis_client, old_listing_ttl=100), 86_400_000
    # Also of one that was never read.
    harness.take(harness.listings.step("invalidate", VOLUMES))
    assert day_ms - 60_000 < redis_client.pttl(_LISTING) <= day_ms
    redis_client.pexpire(_LISTING, 1000)
    harness.commit(harness.begin(), "a")
    state = harness.listings.listing_state(views.VOLUMES, VOLUMES)
    assert state.listing_version
    keys = [_LISTING, f"sapi:base:{VOLUMES}:{state.listing_version.base}"]
    assert (state.count, state.hash, redis_client.hmget(_LISTING, "logging", "reading_from")) == (
        1, state.listing_version.base, [None, None],
    )  # fmt: skip
    assert all(day_ms - 60_000 < redis_client.pttl(key) <= day_ms for key in keys)
    harness.put("b")
    assert day_ms - 60_000 < redis_client.pttl(_DELTA) <= day_ms
    harness.commit(harness.begin(), "c")
    assert 50_000 < redis_client.pttl(_OLD) <= 100_000
