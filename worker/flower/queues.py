"""Flower's page of queues, from the job records.

Celery's remote control is off, so Flower cannot ask workers what they serve; the number of messages does not help,
since a job's message is gone as soon as a worker has read it. The job records have both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import redis
from flower import urls
from flower.api.tasks import GetQueueLengths
from flower.views.broker import BrokerView
from tornado.routing import URLSpec

from storage_backends.configuration.subsystems import FILE_VARIABLE, FOLDER_VARIABLE, LIST_VARIABLE, Subsystems
from worker.catalog.operations import QueueClass
from worker.config.settings import Settings
from worker.jobs.status import WORKER_TTL_MS
from worker.store.client import connect
from worker.store.keys import Keys


def queue_names(environ: Mapping[str, str]) -> list[str]:
    """Return the queues of the configured storage systems; none where none are configured.

    Raises:
        ConfigurationError: the configuration is wrong; one line.
    """
    if not any(environ.get(variable) for variable in (LIST_VARIABLE, FILE_VARIABLE, FOLDER_VARIABLE)):
        return []
    names = Subsystems.names_from_environment(environ)
    return [f"{subsystem}.{queue_class}" for subsystem in names for queue_class in QueueClass]


class ServiceQueues:
    """Replaces Flower's broker client: waiting and running jobs, and the workers online, of each queue."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._client = client
        self._keys = Keys(prefix)

    async def queues(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return Flower's data of each queue; ``messages`` are jobs, running ones are ``messages_unacknowledged``."""
        return await asyncio.to_thread(self._read, names)

    def _read(self, names: Sequence[str]) -> list[dict[str, Any]]:
        seconds, microseconds = self._client.time()
        since_ms = int(seconds) * 1000 + int(microseconds) // 1000 - WORKER_TTL_MS
        pipe = self._client.pipeline(transaction=False)
        for name in names:
            pipe.zcard(self._keys.queued(name))
            pipe.zcard(self._keys.running(name))
            pipe.zcount(self._keys.workers(name), since_ms, "+inf")
        counts = pipe.execute()
        return [_row(name, *counts[3 * at : 3 * at + 3]) for at, name in enumerate(names)]


def _row(name: str, waiting: int, running: int, online: int) -> dict[str, Any]:
    return {
        "name": name,
        "messages": waiting + running,
        "messages_unacknowledged": running,
        "messages_ready": waiting,
        "consumers": online,
    }


class _ServiceQueuesMixin:
    """The methods that Flower's handlers call, with data of the service."""

    def initialize(self, source: ServiceQueues, names: Sequence[str]) -> None:
        self._source = source
        self._names = names

    def get_active_queue_names(self) -> list[str]:
        return list(self._names)

    def get_broker(self) -> ServiceQueues:
        return self._source


class QueuesPage(_ServiceQueuesMixin, BrokerView):
    """Flower's page of queues."""


class QueuesJson(_ServiceQueuesMixin, GetQueueLengths):
    """The same as JSON."""


_OURS = {BrokerView: QueuesPage, GetQueueLengths: QueuesJson}


def show_queues(settings: Settings, names: Sequence[str]) -> None:
    """Register this module's handlers for Flower's page and JSON of queues; call before Flower makes its routes."""
    if not names:
        return
    source = ServiceQueues(connect(settings, connections=4), settings.key_prefix)
    arguments = {"source": source, "names": names}
    for at, route in enumerate(urls.handlers):
        url_spec = route if isinstance(route, URLSpec) else URLSpec(*route)
        if url_spec.handler_class in _OURS:
            pattern, handler = url_spec.regex.pattern, _OURS[url_spec.handler_class]
            urls.handlers[at] = URLSpec(pattern, handler, arguments, name=url_spec.name)
