"""Who gets the next permit."""

from __future__ import annotations

import threading
from queue import Queue

import pytest

from api.limits.fair_queue import FairQueue


class WaitingThreads:
    """Threads that wait for a permit; each reports its name when it has one, and does not release it."""

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
def waiters() -> WaitingThreads:
    queue = FairQueue(1)
    assert queue.acquire("first", 0)
    return WaitingThreads(queue)


def test_permits_alternate_between_senders(waiters: WaitingThreads) -> None:
    for name in ("a1", "a2", "a3", "b1", "c1", "b2"):
        waiters.joins(name, name[0])
    assert [waiters.next() for _ in range(6)] == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_a_request_that_had_a_permit_before_comes_first(waiters: WaitingThreads) -> None:
    waiters.joins("new", "a")
    waiters.joins("again", "b", again=True)
    assert [waiters.next() for _ in range(2)] == ["again", "new"]


def test_a_request_that_stopped_waiting_is_skipped(waiters: WaitingThreads) -> None:
    assert not waiters.queue.acquire("a", 0.01)
    assert not waiters.queue.acquire("a", 0.01, again=True)
    waiters.joins("b1", "b")
    assert waiters.next() == "b1"


def test_dismiss_ends_all_waits_without_a_permit(waiters: WaitingThreads) -> None:
    waiters.joins("a1", "a")
    waiters.joins("b1", "b", again=True)
    waiters.queue.dismiss()
    assert sorted(waiters.limiter.get(timeout=20) for _ in range(2)) == [("a1", False), ("b1", False)]
    waiters.queue.release()
    assert waiters.queue.acquire("c", 0)


def test_the_number_of_permits_is_constant() -> None:
    queue = FairQueue(2)
    assert [queue.acquire("a", 0) for _ in range(3)] == [True, True, False]
    queue.release()
    assert [queue.acquire("a", 0) for _ in range(2)] == [True, False]


@pytest.mark.parametrize(("cooldown_within_s", "rests"), [(20, [0.5]), (0, [])])
def test_a_permit_cools_down_unless_the_next_has_waited_long(cooldown_within_s: float, rests: list[float]) -> None:
    found: list[float] = []
    queue = FairQueue(1, sleep=found.append, cooldown_within_s=cooldown_within_s)
    assert queue.acquire("first", 0)
    waiters = WaitingThreads(queue)
    waiters.joins("a1", "a")
    queue.release(0.5)
    assert waiters.limiter.get(timeout=20) == ("a1", True)
    assert found == rests
