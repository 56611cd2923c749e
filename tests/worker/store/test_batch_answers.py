"""What the scripts answer in each state of a batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from tests.worker.redis_clock import redis_now_ms
from tests.worker.store.redis_views import creations
from worker.config.settings import load
from worker.jobs.record import State
from worker.store.results import ClaimResult, ClaimTerms, SubmitOutcome

_WRITE = f"{SUBSYSTEM}.write"


# --- batches


def _stopped_with_one_put_off(harness: Harness) -> tuple[str, list[str]]:
    """A batch that stops after a failure, while one of its members was put off and another has not begun."""
    members = [*creations(harness, "vol", "a", "b"), *creations(harness, "c")]
    batch_id = harness.accept_batch(*members, parallel=3, stop=True)
    ids = [job.id for job in harness.members(batch_id)]
    node = harness.node()
    node.claims.requeue(node.claim(ids[1]), 0)
    node.carry_out(ids[0])
    return batch_id, ids


def test_a_member_that_has_begun_before_goes_on_when_its_batch_stops(harness: Harness):
    batch_id, ids = _stopped_with_one_put_off(harness)
    harness.batches.advance(batch_id)
    assert [harness.job(each).state.value for each in ids] == ["failed", "queued", "cancelled", "cancelled"]
    assert harness.node().carry_out(ids[1])
    assert [harness.job(each).state.value for each in (ids[1], batch_id)] == ["succeeded", "failed"]
    assert not harness.leftovers()


def test_a_member_that_has_begun_before_is_cancelled_with_its_batch(harness: Harness):
    batch_id, ids = _stopped_with_one_put_off(harness)
    harness.batches.cancel(batch_id, "root")
    assert [harness.job(each).state.value for each in ids] == ["failed", "cancelled", "cancelled", "cancelled"]
    assert harness.job(batch_id).state is State.CANCELLED
    assert harness.field(ids[1], "cancelled_by") == "root"


def test_a_member_that_was_sent_is_not_requested_to_stop(harness: Harness):
    batch_id = harness.accept_batch(*creations(harness, "a", "b"))
    sent, asked = (job.id for job in harness.members(batch_id))
    node = harness.node()
    lease = node.claim(sent)
    lease.record_intent("create_volume")
    node.claim(asked)
    harness.batches.cancel(batch_id, "ann")
    assert [harness.job(each).state.value for each in (sent, asked)] == ["running", "cancelling"]


def test_a_batch_is_stopped_in_steps(harness: Harness):
    batch_id = harness.accept_batch(*creations(harness, "a", "b", "c"))
    harness.jobs.cancel(batch_id, "ann")
    answers = [harness.scripts.advance_batch(batch_id, 1, 1000)[0] for _ in range(4)]
    assert answers == [True, True, False, False]
    assert harness.job(batch_id).state is State.CANCELLED
    harness.client.zadd(f"{PREFIX}batches_stopping", {batch_id: 1, "gone": 1})
    harness.batches.advance_all()
    assert not harness.client.exists(f"{PREFIX}batches_stopping")


def test_released_members_have_a_message_and_are_checked_soon(harness: Harness):
    batch_id = harness.accept_batch(*creations(harness, "a", "b", "c"), parallel=2)
    ids = [job.id for job in harness.members(batch_id)]
    assert [message.job_id for message in harness.publisher.take()] == [batch_id, *ids[:2]]
    for each in ids[:2]:
        assert (
            0
            < float(harness.client.zscore(f"{PREFIX}due:{SUBSYSTEM}", each) or 0) - redis_now_ms(harness.client)
            <= 2000
        )
        assert abs(int(harness.field(each, "dispatched_at")) - redis_now_ms(harness.client)) < 10_000
    assert harness.client.zscore(f"{PREFIX}due:{SUBSYSTEM}", ids[2]) is None
    assert harness.node().claims.claim(ids[2]) is ClaimResult.BLOCKED


@pytest.mark.parametrize("lost", ["a member", "the preparation"])
def test_a_batch_discarded_while_it_was_prepared_is_not_accepted(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, lost: str
):
    commit = harness.scripts.commit_batch

    def late(batch_id: str, *arguments: Any) -> Any:
        if lost == "a member":
            harness.client.rpop(f"{PREFIX}members:{batch_id}")
        else:
            harness.client.delete(f"{PREFIX}batches_preparing")
        return commit(batch_id, *arguments)

    monkeypatch.setattr(harness.scripts, "commit_batch", late)
    outcome, batch_id, _ = harness.batches.accept(harness.new_batch(creations(harness, "a", "b")))
    assert (outcome, batch_id) == (SubmitOutcome.CHANGED, "")
    assert not harness.client.exists(f"{PREFIX}queued:{_WRITE}")


def test_a_key_of_another_request_is_refused_for_a_batch_too(harness: Harness):
    harness.accept_batch(*creations(harness, "a"), key="k")
    other = replace(harness.new_batch(creations(harness, "b"), key="k"), request_hash="other")
    assert harness.batches.accept(other)[0] is SubmitOutcome.REUSED
    (key,) = harness.client.scan_iter(f"{PREFIX}idem:*")
    keep_s = harness.settings.idempotency_keep
    assert keep_s - 60 < harness.client.ttl(key) <= keep_s


def test_a_full_queue_refuses_a_batch(harness: Harness):
    publisher: Any = harness.publisher
    settings = load(type(harness.settings), SAPI_DEBUG=True, queue_limit=2)
    batches = type(harness.batches)(
        harness.client, harness.scripts, harness.jobs, harness.jobs.ids, publisher, settings
    )
    for number in range(2):
        harness.jobs.accept(
            replace(harness.new("create_lock", volume="vol", host=f"h{number}"), requester=f"u{number}")
        )
    assert batches.accept(harness.new_batch(creations(harness, "a")))[0] is SubmitOutcome.FULL


# --- messages, and repeated requests


def test_the_end_of_a_batch_has_a_message(harness: Harness):
    batch_id = harness.accept_batch(*creations(harness, "a"))
    (member,) = (job.id for job in harness.members(batch_id))
    harness.publisher.take()
    harness.node().carry_out(member)
    assert [(message.job_id, message.operation) for message in harness.publisher.take()] == [(batch_id, "batch")]


def test_a_free_slot_gets_no_member_of_a_stopping_batch(harness: Harness):
    batch_id = harness.accept_batch(*creations(harness, "vol", "a"), parallel=2, stop=True)
    failing, other = (job.id for job in harness.members(batch_id))
    harness.node().carry_out(failing)
    terms = ClaimTerms("t", 8, 15_000, 1000, 1000)
    assert harness.scripts.claim_next(_WRITE, terms) == []
    assert harness.job(other).state is State.QUEUED
    alone = harness.accept("create_volume", volume="b")
    assert alone.encode() in harness.scripts.claim_next(_WRITE, terms)


def test_a_free_slot_gets_released_members_only(harness: Harness):
    batch_id = harness.accept_batch(*creations(harness, "a", "b"), parallel=1)
    released, unreleased = (job.id for job in harness.members(batch_id))
    terms = ClaimTerms("t", 8, 15_000, 1000, 1000)
    assert released.encode() in harness.scripts.claim_next(_WRITE, terms)
    assert harness.scripts.claim_next(_WRITE, terms) == []
    assert harness.job(unreleased).state is State.QUEUED
