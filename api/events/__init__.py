"""`GET /v4/events`: the changes of jobs as Server-Sent Events, for those who may see them.

One thread of each process reads the event log (`hub`). Each stream (`stream`) has a place in it, and takes what it may
show from the process's memory, or from Redis where it is further behind.
"""

from __future__ import annotations

from flask import Flask, current_app

from api.events.hub import EventHub
from api.limits.slots import Slots
from api.services import Services
from worker.jobs.event_log import EventLog
from worker.store.client import connect

_EXTENSION = "storage-api-events"
#: The hub's connection waits for the next entry; the limit of an answer is longer than that.
_HUB_TIMEOUT_S = 5.0


def init_app(app: Flask, services: Services) -> None:
    """Give ``app`` its event hub; nothing is read before the first stream is opened."""
    settings = services.settings
    waiting = EventLog(connect(settings, command_timeout_s=_HUB_TIMEOUT_S, connections=4), settings.key_prefix)
    app.extensions[_EXTENSION] = EventHub(
        EventLog(services.redis, settings.key_prefix),
        waiting,
        slots=Slots(services.config.max_streams, services.config.user_places_share),
        keep_s=settings.events_keep,
    )


def event_hub() -> EventHub:
    """Return the hub of the application at hand."""
    hub = current_app.extensions[_EXTENSION]
    assert isinstance(hub, EventHub)  # noqa: S101 - put there by init_app
    return hub


def end_streams(app: Flask) -> None:
    """End the streams of an application, whose process is about to end."""
    app.extensions[_EXTENSION].close()
