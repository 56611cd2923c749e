"""The Celery application: how a message travels. Messages hold a job's id and nothing else; results are not
Celery's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from kombu.entity import Queue

from worker.settings import Settings

#: An API process must never wait long for a broker; the sweeper makes good what it could not send.
_FRONT_END = {
    "socket_timeout": 1,
    "socket_connect_timeout": 1,
    "socket_keepalive": True,
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.1,
}
#: A worker must notice a half-open connection, and go on by itself when the broker is back.
_WORKER = {
    "socket_timeout": 5,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 5,
    "retry_on_timeout": True,
}

#: What the promises rest on. A worker that was started with other values refuses to start.
REQUIRED = {
    "task_acks_late": False,
    "worker_disable_prefetch": True,
    "worker_prefetch_multiplier": 1,
    "task_ignore_result": True,
    "task_serializer": "json",
    "accept_content": ["json"],
}


def create_celery(settings: Settings, *, consumed: Sequence[str] = ()) -> Celery:
    """Return the application; ``consumed`` names the queues of a worker, without any it only sends."""
    consumes = bool(consumed)
    celery = Celery("storage-api", broker=settings.broker, backend=None, set_as_current=False)
    celery.conf.update(
        **REQUIRED,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        broker_transport_options=_transport_options(settings.broker, consumes=consumes),
        # kombu's pool loses a connection for good whenever a producer cannot be made, and hangs when all are lost.
        broker_pool_limit=0,
        worker_enable_remote_control=False,
        worker_send_task_events=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        task_send_sent_event=False,
        task_track_started=True,
        task_create_missing_queues=True,
        task_queues=_queues(consumed),
        event_queue_expires=60,
        event_queue_ttl=30,
    )
    return celery


def _transport_options(broker: str, *, consumes: bool) -> dict[str, Any]:
    if not urlsplit(broker).scheme.startswith(("redis", "sentinel")):
        return {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}
    return dict(_WORKER if consumes else _FRONT_END)


def _queues(names: Sequence[str]) -> list[Queue] | None:
    """The queues to consume; a message is done with once it is read.

    What is not acknowledged is not kept either. Otherwise a Redis that is full would take a message from its queue and
    refuse to keep it, whereupon the worker ends (kombu 5.7).
    """
    return [Queue(name, routing_key=name, no_ack=True) for name in names] or None  # type: ignore[no-untyped-call]
