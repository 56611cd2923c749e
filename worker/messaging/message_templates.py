"""Celery messages serialised in advance, so that the submit script enqueues them in its own step.

This is the transactional outbox pattern. Celery and kombu make one template for each queue and operation; job ids are
filled in.
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

from worker.messaging.messages import TaskMessage, publish_message
from worker.telemetry import tracing

#: Placeholders for the id of a job, and for the body, which is encoded when the id is known.
_NO_JOB, _NO_BODY = str(uuid.UUID(int=0)), str(uuid.UUID(int=1))
#: Placeholder for the context of the job's trace, in the header of that name. Its span is not sampled.
_NO_TRACE = f"00-{1:032x}-{1:016x}-00"


@dataclass(frozen=True, slots=True)
class _Template:
    """A message without the id of its job."""

    envelope: str
    body: str

    def render(self, job_id: str, traceparent: str) -> str:
        body = base64.b64encode(self.body.replace(_NO_JOB, job_id).encode()).decode()
        return self.envelope.replace(_NO_JOB, job_id).replace(_NO_TRACE, traceparent).replace(_NO_BODY, body)


class MessageTemplates:
    """Serialises messages for the queues of one Celery application, whose broker is Redis; sends none."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery
        self._templates: dict[tuple[str, str], _Template] = {}

    def render(self, message: TaskMessage) -> str:
        """Return the text to push onto the list with the queue's name.

        The message's id is the job's: a job must have only one message of this kind, its first.
        """
        kind = message.queue, message.operation
        if kind not in self._templates:
            self._templates[kind] = self._make(*kind)
        return self._templates[kind].render(message.job_id, message.traceparent)

    def _make(self, queue: str, operation: str) -> _Template:
        with (
            Connection(transport=_CapturingTransport) as connection,  # type: ignore[no-untyped-call]
            self._celery.amqp.Producer(connection.channel()) as producer,
        ):
            publish_message(self._celery, producer, TaskMessage(_NO_JOB, queue, operation, _NO_TRACE))
            written: dict[str, Any] = producer.channel.written
        body = base64.b64decode(written["body"]).decode()
        written["properties"]["delivery_tag"] = _NO_JOB
        if tracing.is_on():
            # Replaces the context that the instrumentation of Celery has put there.
            written["headers"]["traceparent"] = _NO_TRACE
        return _Template(dumps(written | {"body": _NO_BODY}), body)  # type: ignore[no-untyped-call]


class _CapturingChannel(virtual.Channel):
    """Stores the message instead of sending it."""

    written: dict[str, Any]

    def _put(self, queue: str, message: dict[str, Any], **_options: Any) -> None:
        self.written = message


class _CapturingTransport(virtual.Transport):
    """A transport that sends nothing."""

    Channel = _CapturingChannel

    def driver_version(self) -> str:
        return "none"
