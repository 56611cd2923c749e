"""Rings: messages that tell workers of one job. They hold its id and nothing else, and may be lost or come twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from celery import Celery
from kombu.messaging import Producer

from worker.catalog.operations import OPERATIONS


class Ring(NamedTuple):
    """What a message needs: the job, and the queue and task that it is for."""

    job_id: str
    queue: str
    operation: str


def rings(found: Iterable[Iterable[bytes]]) -> list[Ring]:
    """Read the rings that a script answered with."""
    return [Ring(*(part.decode() for part in ring)) for ring in found]


def send_ring(celery: Celery, producer: Producer, ring: Ring) -> None:
    """Send a ring, in the one form that all of them have."""
    celery.send_task(
        OPERATIONS[ring.operation].task_name,
        args=[ring.job_id],
        task_id=ring.job_id,
        queue=ring.queue,
        producer=producer,
        retry=False,
        ignore_result=True,
    )
