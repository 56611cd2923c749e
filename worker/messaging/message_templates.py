"""A ring as kombu would put it into Redis, for the script that records the job to put it there in the same step.

Celery and kombu write one for each queue and operation; the ids of jobs are filled in.
"""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass
from typing import Any

from celery import Celery
from kombu.connection import Connection
from kombu.transport import virtual
from kombu.utils.json import dumps

from worker.messaging.messages import Ring, send_ring

#: Stand for the id of a job, and for the body, which is encoded when that is known.
_NO_JOB, _NO_BODY = str(uuid.UUID(int=0)), str(uuid.UUID(int=1))


@dataclass(frozen=True, slots=True)
class _Form:
    """A message but for the id of its job."""

    envelope: str
    body: str

    def for_job(self, job_id: str) -> str:
        body = base64.b64encode(self.body.replace(_NO_JOB, job_id).encode()).decode()
        return self.envelope.replace(_NO_JOB, job_id).replace(_NO_BODY, body)


class Letters:
    """Writes messages for the queues of one Celery application, whose broker is Redis; sends none."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery
        self._forms: dict[tuple[str, str], _Form] = {}

    def write(self, ring: Ring) -> str:
        """Return what is to be pushed into the list that is called as the queue.

        The message is named as its job: for a job, this must be the first ring, and the only one of this kind.
        """
        kind = ring.queue, ring.operation
        if kind not in self._forms:
            self._forms[kind] = self._form(*kind)
        return self._forms[kind].for_job(ring.job_id)

    def _form(self, queue: str, operation: str) -> _Form:
        with Connection(transport=_Nowhere) as nowhere, self._celery.amqp.Producer(nowhere.channel()) as producer:  # type: ignore[no-untyped-call]
            send_ring(self._celery, producer, Ring(_NO_JOB, queue, operation))
            message: dict[str, Any] = producer.channel.written
        body = base64.b64decode(message["body"]).decode()
        message["properties"]["delivery_tag"] = _NO_JOB
        return _Form(dumps(message | {"body": _NO_BODY}), body)  # type: ignore[no-untyped-call]


class _Sheet(virtual.Channel):
    """Keeps the message that it is to put into a queue."""

    written: dict[str, Any]

    def _put(self, queue: str, message: dict[str, Any], **_options: Any) -> None:
        self.written = message


class _Nowhere(virtual.Transport):
    """Goes nowhere."""

    Channel = _Sheet

    def driver_version(self) -> str:
        return "none"
