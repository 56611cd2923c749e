"""Who gets the next permit."""

from __future__ import annotations

import threading
from queue import Queue

import pytest

from api.limits.fair_queue import FairQueue


class Crowd:
    """Threads that wait for a permit, one after the other; each tells its name when it has one, and keeps it."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue = queue
        self.limiter: Queue[tuple[str, bool]] = Queue()

    def joins(self, name: str, sender: str, *, again: bool = False) -> None:
        """A thread begins to wait; it does before this returns."""
        waiting = self.queue.waiting

        def wait() -> None:
            self.limiter.put((name, self.queue.acquire(sender, 20, again=again)))

        threading.Thread(target=wait, daemon=True).start()
        while self.queue.waiting == waiting:
            threading.Event().wait(0.001)

    def next(self) -> str:
        """Hand the permit on; who has it then."""
        self.queue.release()
        name, granted = self.limiter.get(timeout=20)
        assert granted
        return name


@pytest.fixture
def crowd() -> Crowd:
    queue = FairQueue(1)
    assert queue.acquire("first", 0)
    return Crowd(queue)


def test_senders_take_turns_however_many_each_has_waiting(crowd: Crowd) -> None:
    for name in ("a1", "a2", "a3", "b1", "c1", "b2"):
        crowd.joins(name, name[0])
    assert [crowd.next() for _ in range(6)] == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_who_had_a_permit_before_comes_first(crowd: Crowd) -> None:
    crowd.joins("new", "a")
    crowd.joins("again", "b", again=True)
    assert [crowd.next() for _ in range(2)] == ["again", "new"]


def test_who_has_left_is_passed_over(crowd: Crowd) -> None:
    assert not crowd.queue.acquire("a", 0.01)
    assert not crowd.queue.acquire("a", 0.01, again=True)
    crowd.joins("b1", "b")
    assert crowd.next() == "b1"


def test_all_can_be_dismissed_without_a_permit(crowd: Crowd) -> None:
    crowd.joins("a1", "a")
    crowd.joins("b1", "b", again=True)
    crowd.queue.dismiss()
    assert sorted(crowd.limiter.get(timeout=20) for _ in range(2)) == [("a1", False), ("b1", False)]
    crowd.queue.release()
    assert crowd.queue.acquire("c", 0)


def test_there_are_no_more_permits_than_were_made() -> None:
    queue = FairQueue(2)
    assert [queue.acquire("a", 0) for _ in range(3)] == [True, True, False]
    queue.release()
    assert [queue.acquire("a", 0) for _ in range(2)] == [True, False]


@pytest.mark.parametrize(("cooldown_within_s", "rests"), [(20, [0.5]), (0, [])])
def test_a_permit_cools_down_but_for_whoever_has_waited_for_long(cooldown_within_s: float, rests: list[float]) -> None:
    found: list[float] = []
    queue = FairQueue(1, sleep=found.append, cooldown_within_s=cooldown_within_s)
    assert queue.acquire("first", 0)
    crowd = Crowd(queue)
    crowd.joins("a1", "a")
    queue.release(0.5)
    assert crowd.limiter.get(timeout=20) == ("a1", True)
    assert found == rests
