"""Figures for Prometheus, read from Redis when they are asked for; without Redis, only that it is away."""

from __future__ import annotations

from collections.abc import Iterator

import redis
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api import readiness
from api.parts import Parts

MEDIA_TYPE = CONTENT_TYPE_LATEST


def text(held: Parts) -> bytes:
    """Return the figures in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Figures(held))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, held: Parts) -> None:
        self._held = held

    def describe(self) -> list[Metric]:
        # Otherwise registering would already collect.
        return []

    def collect(self) -> Iterator[Metric]:
        try:
            found = [*self._jobs(), *self._queues()]
        except redis.RedisError:
            found = []
        up = GaugeMetricFamily("sapi_redis_up", "1 while Redis answers", value=1 if found else 0)
        yield from [up, *found]

    def _jobs(self) -> Iterator[Metric]:
        ended = CounterMetricFamily("sapi_jobs_ended", "Jobs by outcome", labels=["subsystem", "operation", "state"])
        counted: dict[bytes, bytes] = self._held.redis.hgetall(f"{self._held.settings.key_prefix}ended")  # type: ignore[assignment]
        for key, count in counted.items():
            labels = key.decode().split(" ")
            if len(labels) == 3:  # noqa: PLR2004 - subsystem, operation, state
                ended.add_metric(labels, int(count))
        yield ended

    def _queues(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("sapi_queue_jobs", "Jobs that wait", labels=["queue"])
        online = GaugeMetricFamily("sapi_workers_online", "Workers that serve a queue", labels=["queue"])
        for queue, state in readiness.look(self._held)["queues"].items():
            waiting.add_metric([queue], state["waiting"])
            online.add_metric([queue], state["workers_online"])
        yield from (waiting, online)
