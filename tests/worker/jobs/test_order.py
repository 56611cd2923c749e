"""The order of jobs that concern one volume, and what a cancel of one of them does."""

from __future__ import annotations

import pytest

from tests.worker.harness import Harness, Node
from worker.jobs.record import State


@pytest.fixture
def node(harness: Harness) -> Node:
    return harness.node()


# --- order


def test_changes_by_name_and_by_path_share_one_order(harness: Harness, node: Node):
    first = harness.accept("update_volume", volume="node:/vol", percentage_snapshot_reserve=1)
    second = harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=2)
    third = harness.accept("update_volume", volume="other:/VOL", percentage_snapshot_reserve=3)
    assert [node.claims.claim(job_id) for job_id in (second, third)] == ["BLOCKED", "BLOCKED"]
    harness.publisher.take()
    node.carry_out(first)
    woken = [message.job_id for message in harness.publisher.take()]
    assert second in woken
    node.carry_out(second)
    node.carry_out(third)
    assert [harness.job(job_id).state for job_id in (first, second, third)] == [State.SUCCEEDED] * 3


def test_a_path_waits_for_the_volume_that_will_be_mounted_there(harness: Harness, node: Node):
    made = harness.accept("create_volume", volume="fresh")
    by_path = harness.accept("update_volume", volume="node:/fresh", percentage_snapshot_reserve=9)
    assert "path:/fresh" in harness.ordering_keys(made)
    assert node.claims.claim(by_path) == "BLOCKED"
    node.carry_out(made)
    node.carry_out(by_path)
    assert harness.job(by_path).state is State.SUCCEEDED


@pytest.mark.parametrize("source", ["vol", "node:/vol"])
def test_a_clone_is_ordered_with_changes_of_both_volumes(harness: Harness, node: Node, source: str):
    clone = harness.accept("clone_volume", volume="copy", from_volume=source, from_snapshot="snap")
    of_source = harness.accept("restrict_volume", volume="vol")
    after = harness.accept("update_volume", volume="copy", percentage_snapshot_reserve=9)
    assert [node.claims.claim(job_id) for job_id in (of_source, after)] == ["BLOCKED", "BLOCKED"]
    node.carry_out(clone)
    assert harness.job(clone).state is State.SUCCEEDED
    node.carry_out(after)
    assert harness.job(after).state is State.SUCCEEDED


# --- cancel


def test_a_job_that_is_returned_while_it_is_cancelled_is_cancelled(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    lease = node.claim(job_id)
    assert harness.jobs.cancel(job_id, "ann") == "CANCELLING"
    node.claims.requeue(lease, 5, "backend-unavailable")
    assert harness.job(job_id).state is State.CANCELLED
    assert not harness.leftovers()


def test_a_change_that_is_cancelled_while_its_path_is_resolved_does_not_wait_for_its_volume(
    harness: Harness, node: Node
):
    node.claim(harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=1))
    lease = node.claim(harness.accept("update_volume", volume="node:/vol", percentage_snapshot_reserve=2))
    assert harness.jobs.cancel(lease.job_id, "ann") == "CANCELLING"
    assert node.claims.join_ordering(lease, ["volume:vol"], {})
    assert harness.job(lease.job_id).state is State.CANCELLING
    assert lease in node.lease_renewer.leases()


def test_a_request_to_cancel_outlives_the_worker(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    node.claim(job_id)
    assert harness.jobs.cancel(job_id, "ann") == "CANCELLING"
    harness.recover(harness.node(), job_id)
    assert harness.job(job_id).state is State.CANCELLED
    assert harness.effects() == {}
