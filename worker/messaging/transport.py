"""kombu's transports for Redis as workers use them; registered under the names in `SCHEMES`.

They differ from kombu's own in three ways:

- Messages are acknowledged once they are read, so there are no unacknowledged ones to restore. kombu looks for them
  each time a consumer starts, with a write; while Redis refuses writes, each attempt leaks two open sockets.
- Whatever in a queue is not a message of a job is dropped, with a log line, before Celery sees it. Any client that can
  write to Redis could otherwise stop every worker: some malformed messages make kombu and Celery raise, others occupy
  a thread for ever. No job is lost: the maintenance loop publishes messages again.
- They record when Redis last answered a request for messages, which shows whether this process still consumes.
"""

from __future__ import annotations

import base64
import json
import time
from queue import Empty
from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis, virtual

log = structlog.get_logger(__name__)

#: URL schemes of the transports here, by kombu's scheme for the same server.
SCHEMES = {"redis": "consumed-redis", "rediss": "consumed-redis", "sentinel": "consumed-sentinel"}
#: What parsing malformed data raises; no errors of Redis or of the network.
_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


class MalformedMessage(ValueError):
    """Something in a queue is not a message of a job."""


def is_task_message(message: Any) -> bool:
    """Is this a message of a job as `publish_message` sends it: one id, no other arguments, no delay?"""
    try:
        headers = message["headers"]
        args, kwargs, embedded = json.loads(base64.b64decode(message["body"]))
        return (
            headers["task"].startswith("storage.")
            and isinstance(headers["id"], str)
            and headers.get("shadow") is None
            and headers.get("timelimit") in (None, [None, None])
            and headers.get("eta") is headers.get("expires") is None
            and isinstance(headers.get("retries", 0), int)
            and message["content-type"] == "application/json"
            and [type(arg) for arg in args] == [str]
            and kwargs == {}
            and not any(embedded.values())
        )
    except _MALFORMED:
        return False


class _CheckedMessage(virtual.Message):
    """A message of a job, or an error."""

    def __init__(self, payload: Any, channel: Any = None, **options: Any) -> None:
        if not is_task_message(payload):
            raise MalformedMessage("it is not a message of a job")
        try:
            super().__init__(payload, channel, **options)  # type: ignore[no-untyped-call]
        except _MALFORMED as error:
            raise MalformedMessage(type(error).__name__) from None


class _Consuming:
    """What both channels have in common."""

    Message = _CheckedMessage
    #: False: kombu keeps no record of unacknowledged messages, and restores none.
    ack_emulation = False

    def __init__(self, *args: Any, **options: Any) -> None:
        self._replied_at = time.monotonic()
        super().__init__(*args, **options)

    def silent_s(self) -> float:
        """Seconds since Redis last answered a request for messages; 0.0 while all threads are busy."""
        channel: Any = self
        if not channel.qos.can_consume():
            self._replied_at = time.monotonic()
        return time.monotonic() - self._replied_at

    def close(self) -> None:
        channel: Any = super()
        try:
            channel.close()
        except (*redis.Transport.connection_errors, *redis.Transport.channel_errors):
            # The pending request for messages failed with the connection; the rest must still be closed.
            channel.close()

    def _brpop_read(self, **options: Any) -> Any:
        channel: Any = super()
        try:
            received = channel._brpop_read(**options)  # noqa: SLF001 - kombu has no public place to catch invalid JSON
        except Empty:
            self._replied_at = time.monotonic()
            raise
        except (ValueError, RecursionError) as error:
            # Never log the message itself or an error text that may quote it: the content is unknown.
            log.error("message.rejected", reason=type(error).__name__)  # noqa: TRY400
            received = True
        self._replied_at = time.monotonic()
        return received


class Channel(_Consuming, redis.Channel):
    """A channel of one Redis server."""


class SentinelChannel(_Consuming, redis.SentinelChannel):
    """A channel of the master that sentinels name."""


class Transport(redis.Transport):
    """Connects to one Redis server."""

    Channel = Channel


class SentinelTransport(redis.SentinelTransport):
    """Connects to the master that sentinels name."""

    Channel = SentinelChannel


def register_transports() -> None:
    """Register the transports with kombu."""
    for kombu_scheme, transport in (("redis", Transport), ("sentinel", SentinelTransport)):
        TRANSPORT_ALIASES[SCHEMES[kombu_scheme]] = f"{__name__}:{transport.__name__}"


def consuming_url(url: str) -> str:
    """Return a broker URL (several by ``;``) with the scheme of a worker's transport; AMQP URLs as they are."""
    return ";".join(_with_scheme(one) for one in url.split(";"))


def _with_scheme(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    name, plus, address = scheme.partition("+")
    return f"{SCHEMES.get(name, name)}{plus}{address}{separator}{rest}"
