"""Celery messages of jobs. They hold the job's id, and may be lost or delivered twice; their headers hold its trace."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from celery import Celery
from kombu.messaging import Producer

from worker.catalog.operations import task_name
from worker.telemetry import tracing


class TaskMessage(NamedTuple):
    """One message: the job, the queue, and the operation whose task it calls."""

    job_id: str
    queue: str
    operation: str
    #: The context of the request that made the job, where it is traced.
    traceparent: str = ""


def parse_messages(messages: Iterable[Iterable[bytes]]) -> list[TaskMessage]:
    """Read the messages that a script returned."""
    return [TaskMessage(*(part.decode() for part in message)) for message in messages]


def publish_message(celery: Celery, producer: Producer, message: TaskMessage) -> None:
    """Publish a message."""
    with tracing.within(message.traceparent):
        celery.send_task(
            task_name(message.operation),
            args=[message.job_id],
            task_id=message.job_id,
            queue=message.queue,
            producer=producer,
            retry=False,
            ignore_result=True,
        )
