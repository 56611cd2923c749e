"""The request that Celery makes of each message: acknowledged once it is read, and without events of start and end."""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request

#: Celery's events of start and end are about the message. Those of the job are emitted when it was
#: claimed, and when it has ended.
_OF_JOBS = ("task-started", "task-succeeded", "task-failed")


class TaskRequest(Request):
    """One message."""

    def acknowledge(self) -> None:
        """Mark the message as acknowledged; it has left the broker already.

        kombu would send the acknowledgement nevertheless, and end the worker when Redis is unavailable at that moment.
        """
        self.acknowledged = True

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - theirs
        """Send an event of the message, except those that are emitted for the job."""
        if type not in _OF_JOBS:
            super().send_event(type, **fields)
