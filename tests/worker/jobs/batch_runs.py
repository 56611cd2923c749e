"""Batches of creations, run member by member."""

from __future__ import annotations

from tests.worker.harness import Harness, Node
from worker.jobs.service import NewJob


def creations(harness: Harness, count: int) -> list[NewJob]:
    """Members that succeed, each on a volume of its own."""
    return [harness.new("create_volume", volume=f"v{number}") for number in range(count)]


def run(harness: Harness, node: Node, batch_id: str, turns: int = 200) -> None:
    for _ in range(turns):
        if harness.job(batch_id).done:
            return
        node.consume()
        harness.let_time_pass()
        node.sweep()
        harness.batches.advance_all()
    raise AssertionError(harness.job(batch_id))


def states(harness: Harness, batch_id: str) -> list[str]:
    return [job.state.value for job in harness.members(batch_id)]


def children(harness: Harness, batch_id: str) -> dict[str, int]:
    children = harness.job(batch_id).children
    assert children is not None
    return {name: count for name, count in children.items() if count}
