"""Requests that wait for a job are notified, each only of what it waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from itertools import count
from queue import Queue
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import redis

from tests.worker.harness import PREFIX, Harness, Node
from worker.execution.claims import Completion
from worker.jobs import notifications as module
from worker.jobs.notifications import JobNotifications, Subscription
from worker.jobs.record import State
from worker.jobs.replies import ReplyQueue
from worker.store.blocking_pop import blocking_pop

SOON_S = 20.0


def listeners() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(PREFIX)]


@pytest.fixture
def events(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobNotifications]:
    monkeypatch.setattr(module, "_SILENCE_S", 0.05)
    yield JobNotifications(harness.client, PREFIX, threading.BoundedSemaphore(50))
    for listener in listeners():
        listener.join(SOON_S)


@pytest.fixture
def node(harness: Harness) -> Node:
    return harness.node()


@pytest.fixture
def stack(events: JobNotifications) -> Iterator[ExitStack]:
    with ExitStack() as exit_stack:
        yield exit_stack


def watching(stack: ExitStack, events: JobNotifications, job_id: str, *, end: bool = False) -> Subscription:
    """A watch that was notified of the begin of the subscription, if it is the first."""
    watch = stack.enter_context(events.watch(job_id, end=end))
    assert watch is not None
    watch.wait(0)
    return watch


def test_a_watch_for_the_end_is_notified_of_the_end_only(harness, node, events, stack):
    job_id, later = harness.accept("update_volume", volume="vol"), harness.accept("create_policy")
    changes, ends = watching(stack, events, job_id), watching(stack, events, job_id, end=True)
    control = watching(stack, events, later, end=True)

    lease = node.claim(job_id)
    assert changes.wait(SOON_S)
    node.carry_out(later)
    assert control.wait(SOON_S)
    assert not ends.wait(0)
    node.claims.complete(lease, Completion(State.SUCCEEDED, result=b"null"))
    assert ends.wait(SOON_S)
    assert changes.wait(SOON_S)


def test_a_watch_is_not_notified_of_other_jobs(harness, node, events, stack):
    mine, other = harness.accept("create_policy"), harness.accept("update_volume", volume="vol")
    watch, control = watching(stack, events, mine), watching(stack, events, other)

    node.claim(other)
    assert control.wait(SOON_S)
    assert not watch.wait(0)


def test_every_watch_of_a_job_is_notified(harness, node, events, stack):
    job_id = harness.accept("update_volume", volume="vol")
    all_watches = [watching(stack, events, job_id, end=True) for _ in range(40)]

    node.carry_out(job_id)
    assert all(watch.wait(SOON_S) for watch in all_watches)


def test_after_a_lost_subscription_every_watch_is_notified(harness, events, stack):
    watches = [watching(stack, events, "any"), watching(stack, events, "any", end=True)]

    harness.client.client_kill_filter(_type="pubsub")
    assert all(watch.wait(SOON_S) for watch in watches)


def test_after_a_silent_subscription_every_watch_is_notified(harness, events, stack):
    watch = watching(stack, events, "any", end=True)

    # Nothing is lost of what is sent, and nothing comes for a while: as when a host disappears.
    harness.client.execute_command("CLIENT", "PAUSE", 300, "ALL")
    assert watch.wait(SOON_S)


def test_a_subscription_that_is_answered_stays(harness, events, stack):
    harness.client.config_resetstat()
    watching(stack, events, "any")
    until = time.monotonic() + SOON_S
    while (counts := _command_counts(harness)).get("ping", 0) < 3 and time.monotonic() < until:
        time.sleep(0.02)
    assert counts["ping"] >= 3
    assert counts["subscribe"] == 1


def _command_counts(harness: Harness) -> dict[str, int]:
    stats: dict[str, Any] = harness.client.info("commandstats")
    return {name.removeprefix("cmdstat_"): count["calls"] for name, count in stats.items()}


@pytest.mark.parametrize("end", [True, False])
def test_a_process_that_shuts_down_wakes_all(events, stack, end):
    watch = watching(stack, events, "a", end=end)
    events.wake_all()
    assert watch.wait(SOON_S)


def test_the_number_of_watches_is_limited(events, stack):
    for number in range(50):
        watching(stack, events, f"job {number}")
    with events.watch("one more", end=False) as watch:
        assert watch is None
    stack.close()
    assert watching(stack, events, "one more")


def test_without_watches_the_subscription_ends(harness, events):
    for _ in range(2):
        with ExitStack() as exit_stack:
            watching(exit_stack, events, "any", end=True)
            (listener,) = listeners()
            assert harness.client.pubsub_numsub(f"{PREFIX}ends")[0][1] == 1
        listener.join(SOON_S)
        assert not listener.is_alive()
        assert harness.client.pubsub_numsub(f"{PREFIX}ends")[0][1] == 0


def test_without_watches_it_ends_also_while_other_jobs_run(harness, node, events, monkeypatch):
    monkeypatch.setattr(module, "_SILENCE_S", 60.0)
    monkeypatch.setattr(module, "_UNNEEDED_S", 0.05)
    with ExitStack() as exit_stack:
        watching(exit_stack, events, "any", end=True)
        (listener,) = listeners()
    until = time.monotonic() + SOON_S
    while listener.is_alive() and time.monotonic() < until:
        node.carry_out(harness.accept("create_policy"))
    assert not listener.is_alive()


def test_a_waiting_slot_for_a_reply_is_released(harness):
    places = threading.BoundedSemaphore(1)
    replies = ReplyQueue(harness.client, PREFIX, places, threading.Event())
    for _ in range(2):
        harness.client.rpush(f"{PREFIX}reply:job", "null")
        assert replies.wait("job", SOON_S) == b"null"
    with places:
        assert replies.wait("job", SOON_S) == b""


@pytest.mark.parametrize(("rules", "is_small"), [(1, True), (600, False)])
def test_a_reply_has_the_result_of_its_job(harness: Harness, rules: int, is_small: bool):
    """The caller reads any other one from the key that holds it, so that Redis need not hold it twice."""
    matches = [f"host{number}.example.org" for number in range(rules)]
    new = replace(harness.new("create_policy", policy="team", rules=matches), wants_reply=True)
    job_id = harness.jobs.accept(new)[1]
    harness.node().carry_out(job_id)
    (reply,) = harness.client.lrange(f"{PREFIX}reply:{job_id}", 0, -1)
    assert reply == (harness.jobs.result(job_id) if is_small else b"")


def test_the_timeout_of_a_blocking_read_is_never_rounded_to_zero(harness, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("worker.jobs.replies.blocking_pop", pop := Mock(return_value=None))
    queue = ReplyQueue(harness.client, PREFIX, threading.BoundedSemaphore(1), threading.Event())
    assert queue.wait("job", 0.0009) == b""
    assert not pop.called


@pytest.fixture
def third_step(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a reply has been waited for in two steps."""
    begun, steps = threading.Event(), count(1)

    def pop(client: redis.Redis, key: str, seconds: float) -> bytes | None:
        if next(steps) == 3:
            begun.set()
        return blocking_pop(client, key, seconds)

    monkeypatch.setattr("worker.jobs.replies._LONGEST_POP_S", 0.05)
    monkeypatch.setattr("worker.jobs.replies.blocking_pop", pop)
    return begun


@pytest.mark.parametrize("reply", [b"null", b""])
def test_a_reply_is_waited_for_in_steps_until_it_comes_or_the_process_shuts_down(harness, third_step, reply):
    stopping, replies = threading.Event(), Queue[bytes]()
    queue = ReplyQueue(harness.client, PREFIX, threading.BoundedSemaphore(1), stopping)
    thread = threading.Thread(target=lambda: replies.put(queue.wait("job", 600)), daemon=True)
    thread.start()
    assert third_step.wait(SOON_S)
    if reply:
        harness.client.rpush(f"{PREFIX}reply:job", reply)
    else:
        stopping.set()
    assert replies.get(timeout=SOON_S) == reply
    thread.join(SOON_S)
    stopping.set()
    # Whoever comes then does not begin to wait.
    assert queue.wait("job", 600) == b""


class _Connection:
    """A subscription with the answers of a test; each `None` is a timeout."""

    def __init__(self, *types: str | None) -> None:
        self._types = list(types)
        self.pings = 0

    def pubsub(self, **_options: Any) -> AbstractContextManager[_Connection]:
        return nullcontext(self)

    def subscribe(self, _name: str) -> None:
        """Send nothing."""

    def get_message(self, *, timeout: float) -> dict[str, Any] | None:
        assert timeout == module._SILENCE_S
        kind = self._types.pop(0)
        return {"type": kind, "data": b"job 1"} if kind else None

    def ping(self) -> None:
        self.pings += 1


@pytest.mark.parametrize(
    ("answers", "pings"),
    [
        (["subscribe", None, None], 1),
        # An answer to the ping, or a message, shows that the connection is open.
        (["subscribe", None, "pong", None, None], 2),
        (["subscribe", None, "message", None, None], 2),
        # That the subscription began may take a while.
        ([None, "subscribe", None, None], 2),
    ],
)
def test_a_connection_that_answers_no_ping_is_dead(answers: list[str | None], pings: int):
    connection: Any = _Connection(*answers)
    channel = module._Channel(connection, "changes", 0.0)
    channel._watches["job"].append(Subscription())
    with pytest.raises(redis.TimeoutError):
        channel._listen_once()
    assert connection.pings == pings
    assert channel._subscribed.is_set()


def test_an_unneeded_subscription_ends_with_the_next_answer():
    connection: Any = _Connection("subscribe", None, "pong")
    module._Channel(connection, "changes", 0.0)._listen_once()
    assert connection.pings == 1


def test_watches_of_one_job_are_woken_one_after_another(monkeypatch: pytest.MonkeyPatch):
    pauses_s = list[float]()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 100.0, sleep=pauses_s.append))
    channel = module._Channel(Mock(), "changes", 0.5)
    watches = [Subscription() for _ in range(4)]
    channel._watches["job"] += watches
    for notify in (lambda: channel._notify_watchers("job"), channel.notify_all):
        notify()
        # None waits longer than it wants to.
        assert all(watch.wait(1.25) for watch in watches)
        assert pauses_s == [0, 0.5, 1, 1.25]
        assert not watches[3].wait(0)
        pauses_s.clear()


@pytest.mark.parametrize("error", [redis.ConnectionError("away"), RuntimeError("a bug")])
def test_a_thread_that_cannot_subscribe_pauses(monkeypatch: pytest.MonkeyPatch, error: Exception):
    pauses_s, turns = list[float](), iter([False, False, True])
    channel = module._Channel(Mock(pubsub=Mock(side_effect=error)), "changes", 0.0)
    channel._subscribed.set()
    monkeypatch.setattr(channel, "_is_idle", lambda: next(turns))
    monkeypatch.setattr(module, "threading", SimpleNamespace(Event=lambda: SimpleNamespace(wait=pauses_s.append)))
    channel._listen()
    assert pauses_s == [0.5, 0.5]
    assert not channel._subscribed.is_set()
