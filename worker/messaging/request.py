"""The request that Celery makes of each message: done with once it is read, and silent about starts and ends."""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request

#: What Celery takes for the start and the end of a job is that of its message. The job's own are emitted when it was
#: claimed, and when it has ended.
_OF_JOBS = ("task-started", "task-succeeded", "task-failed")


class TaskRequest(Request):
    """One message."""

    def acknowledge(self) -> None:
        """Count as acknowledged; the message is gone from the broker already.

        kombu would send the acknowledgement all the same, and end the worker when Redis is unavailable at that moment.
        """
        self.acknowledged = True

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - theirs
        """Send an event of the message, unless it is about the job."""
        if type not in _OF_JOBS:
            super().send_event(type, **fields)
