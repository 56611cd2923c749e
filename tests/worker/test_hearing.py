"""A ring is counted from when it is read until its thread is done with it, and breaks nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from celery import Celery, Task
from celery.concurrency.thread import TaskPool
from celery.worker import state
from kombu.message import Message

from worker.messaging.strategy import hear

JOB = "01a20632-524d-7e37-a28a-fb5a9dd0612e"


class Noting(Task):
    """Notes what it is rung for, and what Celery counts meanwhile."""

    name = "storage.noting"

    def __init__(self) -> None:
        self.rung: list[tuple[str, str]] = []
        self.counted: list[tuple[int, int]] = []
        self.breaks = False

    def run(self, job_id: str, queue: str) -> None:
        self.rung.append((job_id, queue))
        self.counted.append((len(state.reserved_requests), len(state.active_requests)))
        if self.breaks:
            raise ZeroDivisionError


def message(body: str, content_type: str = "application/json") -> Message:
    return Message(
        body, accept={"application/json"}, content_type=content_type, content_encoding="utf-8",
        headers={"id": JOB, "task": Noting.name}, delivery_info={"routing_key": "filer.write"},
    )  # fmt: skip


def ring(job_id: Any = JOB) -> Message:
    return message(json.dumps([[job_id], {}, {"callbacks": None}]))


@pytest.fixture
def task() -> Noting:
    return Noting()


@pytest.fixture
def events() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def handle(task: Noting, events: list[Any]) -> Iterator[Callable[[Message], None]]:
    """Hear a message, and return when its thread has ended."""
    celery = Celery(broker="memory://", set_as_current=False)
    celery.flower_events = SimpleNamespace(send=lambda kind, **fields: events.append((kind, fields)))
    pool = TaskPool(1)
    pool.on_start()
    futures: list[Future[Any]] = []
    submit = pool.executor.submit

    def noted(*args: Any) -> Future[Any]:
        futures.append(submit(*args))
        return futures[-1]

    pool.executor.submit = noted
    handler = hear(task, celery, SimpleNamespace(pool=pool))

    def heard(sent: Message) -> None:
        handler(sent, None, None, None, ())
        for future in futures:
            future.result(10)

    yield heard
    assert isinstance(pool.executor, ThreadPoolExecutor)
    pool.executor.shutdown()
    state.reset_state()


def test_the_job_and_the_queue_of_a_ring_reach_a_thread(handle, task):
    handle(ring())
    assert task.rung == [(JOB, "filer.write")]


def test_it_is_counted_until_then(handle, task):
    handle(ring())
    assert task.counted == [(1, 1)]
    assert (len(state.reserved_requests), len(state.active_requests), state.requests) == (0, 0, {})


def test_flower_is_told_that_it_was_received(handle, events):
    handle(ring())
    ((kind, fields),) = events
    assert (kind, fields["uuid"], fields["name"], fields["args"]) == ("task-received", JOB, Noting.name, f"('{JOB}',)")


def test_what_breaks_is_logged_and_counted_no_more(handle, task):
    task.breaks = True
    with structlog.testing.capture_logs() as logged:
        handle(ring())
    assert [(line["event"], line["job_id"]) for line in logged] == [("ring.failed", JOB)]
    assert len(state.reserved_requests) == 0


@pytest.mark.parametrize(
    "sent",
    [ring(5), message("[[], {}, {}]"), message("{}"), message("5"), message("no JSON"), message("x", "application/x")],
    ids=["a number", "no argument", "an object", "no list", "no JSON", "another type"],
)
def test_what_names_no_job_is_dropped(handle, task, sent):
    with structlog.testing.capture_logs() as logged:
        handle(sent)
    assert (task.rung, [line["event"] for line in logged]) == ([], ["message.dropped"])
