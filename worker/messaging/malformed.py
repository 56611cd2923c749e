"""What stands in a queue and is no ring for a job is dropped, with a line in the log, before Celery sees it.

Whoever can write to Redis could otherwise stop every worker with a few words: some make kombu and Celery end, others
take a thread for ever. Nothing is lost by it: the sweeper rings again for a job whose message was dropped.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import structlog
from kombu.transport import redis

log = structlog.get_logger(__name__)

#: What reading something of an unexpected shape raises; errors of Redis and of the network are none of these.
_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)

_channel: Any = redis.Channel
_transport: Any = redis.Transport
_read = _channel._brpop_read  # noqa: SLF001 - no other place sees what is no JSON
_deliver = _transport._deliver  # noqa: SLF001 - nor what is JSON and no message


def reject_malformed_messages() -> None:
    """Make this process, which consumes nothing but rings, drop everything else."""
    _channel._brpop_read = _read_or_drop  # noqa: SLF001
    _transport._deliver = _deliver_or_drop  # noqa: SLF001


def is_task_message(message: Any) -> bool:
    """Is this a ring for a job as ``send_ring`` sends it: one id, nothing besides, to be done now?"""
    try:
        headers = message["headers"]
        args, kwargs, embedded = json.loads(base64.b64decode(message["body"], validate=True))
        return (
            headers["task"].startswith("storage.")
            and headers.get("eta") is headers.get("expires") is None
            and isinstance(headers.get("retries", 0), int)
            and message["content-type"] == "application/json"
            and [type(arg) for arg in args] == [str]
            and kwargs == {}
            and not any(embedded.values())
        )
    except _MALFORMED:
        return False


def _read_or_drop(channel: Any, **options: Any) -> Any:
    try:
        return _read(channel, **options)
    except ValueError as error:
        _note(type(error).__name__)
        return True


def _deliver_or_drop(transport: Any, message: Any, queue: Any) -> None:
    if not is_task_message(message):
        _note("it is no ring", str(queue))
        return
    try:
        _deliver(transport, message, queue)
    except _MALFORMED as error:
        _note(type(error).__name__, str(queue))


def _note(reason: str, queue: str = "") -> None:
    # Never what stands in it, nor the words of an error about it: nobody knows what that is.
    log.error("message.dropped", reason=reason, queue=queue)
