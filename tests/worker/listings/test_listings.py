"""Listings under changes: whatever the order of steps, no change is hidden, undone or served too late."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from tests.worker.listing_simulation import ListingSimulation
from worker.catalog import resource_types as views
from worker.config.settings import Settings
from worker.listings.listing import Listing
from worker.listings.process_cache import ListingCache
from worker.listings.repository import Listings, ListingState, ReadMark
from worker.maintenance.compaction import COMPACT_AFTER_CHANGES, Compaction

_WORLDS = 40
_STEPS = 150

#: Faults of the scripts that the test must detect.
_SCRIPT_MUTANTS = {
    "changes are not counted": (
        "local seq = next_number(e.cache_key, 'seq')\n  extend_ttl",
        "local seq = 0 do return end\n  extend_ttl",
    ),
    "a listing seems to begin when it ends": (
        "local oldest = e.start_seq",
        "e.start_seq = tonumber(f[5]) local oldest = 0",
    ),
    "rereads are not noted": ("redis.call('HSET', listing_key(e.cache_key), 'invalid', text(seq))", ""),
    "rereads do not reach single objects": ("next_number(e.cache_key, 'epoch')", ""),
    "numbers begin at nought": ("name, text(now))\n  return now", "name, '0')\n  return 0"),
}
_WRONG = r"is shown as|another state|twice"


def run(client, edit=str, worlds=_WORLDS):
    """How many reads were answered from the cache, none of them wrong; few page tokens have expired."""
    hits = expired = paged = 0
    for seed in range(worlds):
        simulation = ListingSimulation(client, seed, edit)
        simulation.run(_STEPS)
        hits, expired, paged = hits + simulation.hits, expired + simulation.expired, paged + simulation.paged
    assert expired < paged / 8, "page tokens expire early"
    return hits


def test_every_read_matches_the_model(redis_client):
    assert run(redis_client) > _WORLDS * 10


@pytest.mark.parametrize("name", sorted(_SCRIPT_MUTANTS))
def test_the_model_detects_script_mutants(redis_client, name):
    old, new = _SCRIPT_MUTANTS[name]
    replaced = []

    def edit(source):
        replaced.append(source.count(old))
        return source.replace(old, new)

    with pytest.raises(AssertionError, match=_WRONG):
        run(redis_client, edit)
    assert set(replaced) == {1}


@pytest.mark.parametrize("name", ["overlay", "invalid", "base", "place"])
def test_the_model_detects_reader_mutants(redis_client, monkeypatch, name):
    if name == "overlay":
        monkeypatch.setattr(Listings, "changes", lambda *_: [])
    elif name == "invalid":
        monkeypatch.setattr(ListingState, "usable", property(lambda self: self.listing_version is not None))
    elif name == "base":
        monkeypatch.setattr("worker.listings.process_cache._same_base", lambda *_: True)
    else:
        original = ListingCache._cached
        monkeypatch.setattr(
            ListingCache, "_cached", lambda self, gen: (self._present.get(gen.cache_key) or (0, original(self, gen)))[1]
        )
    with pytest.raises(AssertionError, match=_WRONG):
        run(redis_client)


# --- single steps

VOLUMES = views.VOLUMES.cache_key("f", {})


class Harness:
    """Listings on one Redis, with steps taken as the end of a job takes them."""

    def __init__(self, client, **values):
        self.simulation = ListingSimulation(client, 0)
        self.redis = client
        self.listings = Listings(client, self.simulation.scripts, Settings(**values))

    def take(self, *steps):
        self.simulation.steps(keys=["sapi:"], args=[json.dumps(steps)])

    def begin(self):
        return self.listings.begin(views.VOLUMES, VOLUMES, "", 600_000)

    def commit(self, started, *names):
        listing = Listing.of("name", [{"name": name} for name in names], ordered=True)
        self.take(self.listings.store(started, listing))

    def put(self, name):
        self.take(self.listings.step("upsert", VOLUMES, name, json.dumps({"name": name})))

    def drop(self, name):
        self.take(self.listings.step("delete", VOLUMES, name))

    def listing_version(self):
        listing_version = self.listings.listing_state(views.VOLUMES, VOLUMES).listing_version
        assert listing_version is not None
        return listing_version

    def job_status(self):
        usable = self.listings.listing_state(views.VOLUMES, VOLUMES).usable
        listing = self.listings.load(self.listing_version()) if usable else None
        return None if listing is None else [record["name"] for record in listing.records]


def test_a_listing_includes_changes_made_while_it_was_read(redis_client):
    harness = Harness(redis_client)
    started = harness.begin()
    harness.put("new")
    harness.drop("gone")
    harness.commit(started, "gone", "old")
    assert harness.job_status() == ["new", "old"]


def test_every_read_is_a_hit_during_a_stream_of_changes(redis_client):
    harness = Harness(redis_client)
    harness.commit(harness.begin(), "v")
    for listing in range(5):
        started = harness.begin()
        for change in range(30):
            harness.put(f"{listing}-{change}")
            assert len(harness.job_status()) == 2 + listing * 30 + change
        harness.commit(started, *harness.job_status())


def test_an_equal_refresh_keeps_the_base_and_one_copy_of_it(redis_client):
    harness = Harness(redis_client, old_listing_ttl=100)
    for _ in range(3):
        harness.commit(harness.begin(), "a", "b")
    (key,) = redis_client.keys("sapi:base:*")
    assert redis_client.ttl(key) > 100


def test_a_base_too_old_to_be_served_is_dropped(redis_client):
    harness = Harness(redis_client, cache_fresh=1, cache_keep=1)
    harness.commit(harness.begin(), "a")
    harness.put("b")
    redis_client.hincrby(f"sapi:listing:{VOLUMES}", "as_of", -2000)
    harness.put("c")
    assert not redis_client.exists(f"sapi:delta:{VOLUMES}")
    assert harness.listings.listing_state(views.VOLUMES, VOLUMES).listing_version is None


def test_a_short_keep_time_does_not_drop_changes_during_a_long_listing(redis_client):
    harness = Harness(redis_client, cache_fresh=1, cache_keep=1)
    started = harness.begin()
    harness.put("new")
    assert redis_client.pttl(f"sapi:listing:{VOLUMES}") > 100_000
    harness.commit(started, "old")
    assert harness.job_status() == ["new", "old"]


def test_compaction_keeps_contents_and_age(redis_client):
    harness = Harness(redis_client)
    harness.commit(harness.begin(), "a")
    for name in "bcd":
        harness.put(name)
    redis_client.hincrby(f"sapi:listing:{VOLUMES}", "as_of", -5000)
    before = harness.listings.listing_state(views.VOLUMES, VOLUMES)
    Compaction(harness.listings, harness.simulation.scripts, ["f"], compact_after=3)()
    after = harness.listings.listing_state(views.VOLUMES, VOLUMES)
    assert before.listing_version
    assert after.listing_version
    assert harness.job_status() == ["a", "b", "c", "d"]
    assert (after.as_of_ms, after.listing_version.seq) == (before.as_of_ms, before.listing_version.seq)
    assert after.listing_version.base_seq == after.listing_version.seq


def test_only_listings_with_many_changes_are_compacted(redis_client):
    assert COMPACT_AFTER_CHANGES == 2000
    harness = Harness(redis_client)
    policies = views.POLICIES.cache_key("f", {})
    for resource_type, cache_key in ((views.VOLUMES, VOLUMES), (views.POLICIES, policies)):
        started = harness.listings.begin(resource_type, cache_key, "", 600_000)
        harness.take(harness.listings.store(started, Listing.of("name", [], ordered=True)))
        for compact_after, changes, is_folded in ((2, 1, False), (2, 1, True), (2, 1, False)):
            for _ in range(changes):
                harness.take(harness.listings.step("upsert", cache_key, "a", '{"name":"a"}'))
            Compaction(harness.listings, harness.simulation.scripts, ["f"], compact_after)()
            version = harness.listings.listing_state(resource_type, cache_key).listing_version
            assert version
            assert (version.seq == version.base_seq) is is_folded
        harness.take(harness.listings.step("invalidate", cache_key))
        # Invalid listings are not fetched once a second.
        unread: Any = SimpleNamespace(listing_state=harness.listings.listing_state)
        Compaction(unread, harness.simulation.scripts, ["f"], 1)()
        assert harness.listings.listing_state(resource_type, cache_key).invalid


def test_a_compaction_is_discarded_when_a_listing_was_committed(redis_client):
    harness = Harness(redis_client)
    harness.commit(harness.begin(), "a")
    harness.put("b")
    as_of_ms, listing_version = (
        harness.listings.listing_state(views.VOLUMES, VOLUMES).as_of_ms,
        harness.listing_version(),
    )
    folded = ReadMark(VOLUMES, as_of_ms, listing_version.seq, 0)
    listing = harness.listings.load(listing_version)
    assert listing is not None
    harness.commit(harness.begin(), "outside")
    harness.take(harness.listings.store(folded, listing, replaces=listing_version.base))
    assert harness.job_status() == ["outside"]


def test_of_two_compactions_the_second_is_discarded(redis_client):
    harness = Harness(redis_client)
    harness.commit(harness.begin(), "a")
    folds = []
    for name in ("b", "c"):
        harness.put(name)
        state = harness.listings.listing_state(views.VOLUMES, VOLUMES)
        assert state.listing_version is not None
        listing = harness.listings.load(state.listing_version)
        assert listing is not None
        folded = ReadMark(VOLUMES, state.as_of_ms, state.listing_version.seq, 0)
        folds.append(harness.listings.store(folded, listing, replaces=state.listing_version.base))
    harness.take(folds[1])
    harness.take(folds[0])
    assert harness.listing_version().base == folds[1]["base"]
    assert harness.job_status() == ["a", "b", "c"]


def test_an_alias_is_valid_until_a_volume_changes(redis_client):
    listings = Harness(redis_client).listings
    harness = Harness(redis_client)
    listings.cache_alias("f", "/A/b", "v", listings.volumes_state("f"), 60)
    assert listings.alias("f", "/a/b") == "v"
    assert 50 < redis_client.ttl("sapi:alias:f:/a/b") <= 60
    listings.cache_alias("f", "/never", "v", listings.volumes_state("f"), 0)
    assert listings.alias("f", "/never") == ""
    before = listings.volumes_state("f")
    harness.put("w")
    assert listings.alias("f", "/a/b") == ""
    listings.cache_alias("f", "/a/b", "v", before, 60)
    assert listings.alias("f", "/a/b") == ""


def test_a_failed_read_restores_no_alias(redis_client):
    harness = Harness(redis_client)
    harness.listings.cache_alias("f", "/a/b", "v", harness.listings.volumes_state("f"), 60)
    harness.drop("v")

    harness.begin()
    harness.listings.abandon(VOLUMES)

    assert harness.listings.alias("f", "/a/b") == ""


def test_a_failed_read_keeps_the_changes_of_another(redis_client):
    harness = Harness(redis_client)
    _, other = harness.begin(), harness.begin()

    harness.listings.abandon(VOLUMES)
    harness.put("new")
    harness.commit(other, "a")

    assert harness.job_status() == ["a", "new"]


def test_the_process_cache_is_limited_in_size(redis_client):
    harness = Harness(redis_client)
    harness.commit(harness.begin(), *(f"v{number}" for number in range(1000)))
    cache = ListingCache(harness.listings, 1)
    for name in "abc":
        harness.put(name)
        assert cache.get(harness.listing_version()) is not None
    assert len(cache._present) + len(cache._former) == 1
