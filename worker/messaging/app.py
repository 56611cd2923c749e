"""The Celery application. Messages hold a job's id and nothing else; Celery's result back-end is not used."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from celery import Celery
from kombu.entity import Queue

from worker.config.redis_urls import Broker, broker, is_redis
from worker.config.settings import Settings
from worker.messaging.task_events import BufferedEventDispatcher, EventFlushStep
from worker.messaging.transport import consuming_url, register_transports
from worker.store.keys import Keys

#: An API process must never wait long for a broker; the maintenance loop publishes messages that could not be sent.
_FRONT_END = {
    "socket_keepalive": True,
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.1,
}
#: A worker must detect a half-open connection, and reconnect when the broker is available again.
_WORKER = {
    "socket_keepalive": True,
    "health_check_interval": 5,
    "retry_on_timeout": True,
}
#: With priorities kombu polls four lists for each queue.
_ONE_PRIORITY = {"priority_steps": [0]}
#: Limits of attempts to ask sentinels.
_SENTINEL = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5, "retry": None}
#: RabbitMQ: TCP keep-alive detects a half-open connection (12 s without traffic, then 3 unanswered probes).
_AMQP_SOCKET = {"TCP_KEEPIDLE": 12, "TCP_KEEPINTVL": 4, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 10_000}
_AMQP = {
    "socket_settings": {getattr(socket, name): at for name, at in _AMQP_SOCKET.items() if hasattr(socket, name)},
}
#: A message that the broker has not confirmed is sent again over another connection.
_AMQP_FRONT_END = {"confirm_publish": True, "read_timeout": 5, "write_timeout": 5}
_AMQP_HEARTBEAT_S = 10

#: Settings on which the guarantees depend. A worker does not start with other values.
REQUIRED = {
    "task_acks_late": False,
    "worker_prefetch_multiplier": 1,
    "task_ignore_result": True,
    "task_serializer": "json",
    "accept_content": ["json"],
}


def required_settings(broker_url: str) -> dict[str, Any]:
    """The values that a worker must have with this broker.

    Only with Redis may it leave messages in the queue while no thread is free. RabbitMQ delivers them at once; a job
    whose message finds no free slot is published again.
    """
    return REQUIRED | {"worker_disable_prefetch": is_redis(broker_url)}


def create_celery(settings: Settings, *, consumed: Sequence[str] = ()) -> Celery:
    """Return the application; ``consumed``: the queues of a worker; without any, the application only publishes."""
    consumes = bool(consumed)
    broker_address = broker(settings.broker)
    register_transports()
    url = consuming_url(broker_address.url) if consumes else broker_address.url
    celery = Celery("storage-api", broker=url, set_as_current=False)
    celery.conf.update(
        **required_settings(broker_address.url),
        broker_use_ssl=broker_address.use_ssl,
        # Only a worker's loop sends heartbeats; other connections would be closed for the lack of them.
        broker_heartbeat=_AMQP_HEARTBEAT_S if consumes else 0,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        broker_transport_options=_transport_options(broker_address, settings, consumes=consumes),
        # kombu's pool never gets back a connection whose producer could not be made, and blocks when none is left.
        broker_pool_limit=0,
        worker_enable_remote_control=False,
        worker_send_task_events=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        task_queues=_queues(consumed),
        event_queue_ttl=30,
    )
    celery.events.dispatcher_cls = BufferedEventDispatcher
    celery.steps["consumer"].add(EventFlushStep)
    return celery


def _transport_options(broker_address: Broker, settings: Settings, *, consumes: bool) -> dict[str, Any]:
    if not broker_address.is_redis:
        retries = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}
        return retries | _AMQP | ({} if consumes else _AMQP_FRONT_END)
    chosen = (_WORKER if consumes else _FRONT_END) | _ONE_PRIORITY | broker_address.options
    chosen["global_keyprefix"] = Keys(settings.key_prefix).celery
    chosen["socket_timeout"] = chosen["socket_connect_timeout"] = settings.redis_timeout
    if "sentinel_kwargs" in chosen:
        chosen["sentinel_kwargs"] = _SENTINEL | chosen["sentinel_kwargs"]
    return chosen


def _queues(names: Sequence[str]) -> list[Queue] | None:
    """The queues to consume, without acknowledgements.

    So there is no record of unacknowledged messages. Otherwise a full Redis would pop a message from its queue and
    refuse to record it, whereupon the worker ends (kombu 5.7).
    """
    return [Queue(name, routing_key=name, no_ack=True) for name in names] or None  # type: ignore[no-untyped-call]
