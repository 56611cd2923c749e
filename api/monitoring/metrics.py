"""Metrics for Prometheus: those of the whole service, from Redis, and so the same from every API process.

Without Redis they only show that it is unavailable. As each process reports all, queries use `max without (instance)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import redis
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header, parse_options_header

from api.monitoring import service_status as overview
from api.services import Services
from worker.jobs.failure import REQUEST_FAULTS
from worker.store.metrics import JOB_BOUNDS_MS, REQUEST_BOUNDS_MS, histograms
from worker.store.write_probe import WriteState

#: Name, description and labels of counters, by the first word of their fields.
_COUNTERS = {
    "ended": ("sapi_jobs_ended", "Jobs by outcome", ("subsystem", "operation", "state", "code", "fault")),
    "failed": ("sapi_jobs_failed", "Failed jobs by the reason", ("subsystem", "code")),
    "filer": (
        "sapi_filer_calls",
        "Uses of a storage system by a worker, by how they came out",
        ("subsystem", "outcome"),
    ),
    "cache": ("sapi_cache_answers", "Reads by how they were answered", ("view", "outcome")),
    "limit": ("sapi_limits_reached", "Requests that were refused because a limit is reached, by setting", ("limit",)),
    "api": (
        "sapi_api_requests",
        "Requests by an API that is to go, by its operation and status",
        ("api", "operation", "status"),
    ),
    "webhook": ("sapi_webhook_deliveries", "Attempts to send webhooks by how they came out", ("receiver", "outcome")),
    "http": ("sapi_http_requests", "Requests by route and class of status", ("method", "route", "status")),
}
_HISTOGRAMS = {
    "wait": ("sapi_job_wait_seconds", "From acceptance to the first start of a job", ("queue",), JOB_BOUNDS_MS),
    "run": ("sapi_job_run_seconds", "From the start of a job to its end", ("subsystem", "operation"), JOB_BOUNDS_MS),
    "time": (
        "sapi_http_request_seconds",
        "Time to answer requests that did not ask to wait",
        ("method", "route"),
        REQUEST_BOUNDS_MS,
    ),
}
#: Failures that an alert reports from the first one on. Each is there with 0 before: Prometheus takes a counter that
#: begins with 1 for one that has not increased.
_RARE_FAILURES = ("outcome-unknown", "worker-lost")
#: The values of a gauge by the values of its labels.
_Values = Mapping[tuple[str, ...], float]

_FILER_UP = {"available": 1, "unavailable": 0}


Encoder = Callable[[CollectorRegistry], bytes]

#: The versions of the formats; "": any.
_VERSIONS = {"application/openmetrics-text": ("", "1.0.0"), "text/plain": ("", "0.0.4", "1.0.0")}


def form_for(accept: str) -> tuple[Encoder, str]:
    """Return the generator of the format that a client accepts (OpenMetrics or Prometheus), and its media type."""
    # prometheus_client takes the first range that it knows, whatever its weight, and any version from 1.0.0 on.
    weights = {form: weight for form, weight in parse_accept_header(accept, MIMEAccept) if _is_known(form)}
    best = max(weights, key=weights.__getitem__, default="")
    return choose_encoder(best.lower() if weights.get(best) else "")


def _is_known(form: str) -> bool:
    """Is it a range of the two formats, in a version that there is?"""
    media_type, options = parse_options_header(form.lower())
    return options.get("version", "") in _VERSIONS.get(media_type, ())


def text(services: Services, probe: WriteState, encode: Encoder) -> bytes:
    """Return the metrics; ``probe``: the last probe of Redis, which is not queried if it did not answer."""
    registry = CollectorRegistry()
    registry.register(_MetricsCollector(services, probe))
    return encode(registry)


class _MetricsCollector(Collector):
    def __init__(self, services: Services, probe: WriteState) -> None:
        self._services = services
        self._probe = probe

    def describe(self) -> list[Metric]:
        # Otherwise registration would collect.
        return []

    def collect(self) -> Iterator[Metric]:
        try:
            families = _all(self._services) if self._probe.answers else []
        except redis.RedisError:
            families = []
        up = GaugeMetricFamily("sapi_redis_up", "1 while Redis answers", value=1 if families else 0)
        writable = GaugeMetricFamily(
            "sapi_redis_writable", "1 while Redis takes writes, so that jobs can be recorded",
            value=0 if self._probe.problem else 1,
        )  # fmt: skip
        yield from [up, writable, *families]


def _all(services: Services) -> list[Metric]:
    queues = overview.queues(services)
    backends = overview.backends(services, {worker for queue in queues for worker in queue.workers})
    return [
        *_counted(_with_rare_failures(overview.counts(services), services.subsystems)),
        *_of_queues(queues, services.settings.queue_limit),
        *_of_filers(backends),
        *_of_listings(overview.listings(services)),
        *_of_webhooks(overview.webhooks(services), overview.unread_by_webhooks_s(services)),
        *_of_redis(services.redis),
    ]


def _with_rare_failures(counts: Mapping[str, int], subsystems: Sequence[str]) -> dict[str, int]:
    return {f"failed {subsystem} {code}": 0 for subsystem in subsystems for code in _RARE_FAILURES} | dict(counts)


def _counted(counts: Mapping[str, int]) -> Iterator[Metric]:
    for word, (name, meaning, labels) in _COUNTERS.items():
        counter = CounterMetricFamily(name, meaning, labels=labels)
        for field, value in _under(counts, word).items():
            values = field.split(" ")[1:]
            _add(counter, labels, [*values, _fault(values[-1])] if word == "ended" else values, value=value)
        yield counter
    for word, (name, meaning, labels, bounds_ms) in _HISTOGRAMS.items():
        histogram = HistogramMetricFamily(name, meaning, labels=labels)
        for words, series in histograms(_under(counts, word), bounds_ms).items():
            _add(histogram, labels, words[1:], buckets=series.buckets, sum_value=series.sum_s)
        yield histogram


def _under(counts: Mapping[str, int], word: str) -> dict[str, int]:
    return {field: value for field, value in counts.items() if field.startswith(f"{word} ")}


def _fault(code: str) -> str:
    """Return the cause label of a job's failure (request or service); empty for a job that did not fail."""
    return "" if not code else "request" if code in REQUEST_FAULTS else "service"


def _add(family: Any, labels: Sequence[str], values: Sequence[str], **counts: Any) -> None:
    # Another version of the service may have other labels.
    if len(values) == len(labels):
        family.add_metric(list(values), **counts)


def _gauge(name: str, meaning: str, labels: Sequence[str], values: _Values) -> Metric:
    gauge = GaugeMetricFamily(name, meaning, labels=labels)
    for words, value in values.items():
        gauge.add_metric(list(words), value)
    return gauge


def _of_queues(queues: Sequence[overview.QueueStatus], limit: int) -> Iterator[Metric]:
    gauges: dict[str, tuple[str, Callable[[overview.QueueStatus], float]]] = {
        "sapi_queue_jobs": ("Jobs that wait", lambda queue: queue.waiting),
        "sapi_queue_jobs_limit": ("Jobs that may wait (SAPI_QUEUE_LIMIT)", lambda _: limit),
        "sapi_queue_running_jobs": ("Jobs that run", lambda queue: queue.running),
        "sapi_queue_oldest_seconds": ("How long the first job has waited", lambda queue: queue.oldest_s),
        "sapi_workers_online": ("Workers that serve a queue", lambda queue: len(queue.workers)),
    }
    for name, (meaning, figure) in gauges.items():
        yield _gauge(name, meaning, ("queue",), {(queue.name,): figure(queue) for queue in queues})


def _of_filers(backends: Sequence[overview.BackendStatus]) -> Iterator[Metric]:
    up: _Values = {
        (filer.subsystem,): float(_FILER_UP[filer.status]) for filer in backends if filer.status in _FILER_UP
    }
    yield _gauge("sapi_filer_up", "1 while workers can use the storage system", ("subsystem",), up)
    breakers: _Values = {
        (filer.subsystem, state): float(n) for filer in backends for state, n in filer.breakers.items()
    }
    meaning = "Workers by the state of their circuit breaker for a storage system"
    yield _gauge("sapi_filer_breakers", meaning, ("subsystem", "state"), breakers)


def _of_listings(listings: Sequence[overview.ListingStatus]) -> Iterator[Metric]:
    labels = ("subsystem", "view")
    ages: _Values = {
        (listing.subsystem, listing.resource_type.name): float(listing.listing_state.age_s) for listing in listings
    }
    yield _gauge("sapi_listing_age_seconds", "Time since the storage system was asked for a listing", labels, ages)
    sizes: _Values = {
        (listing.subsystem, listing.resource_type.name): float(listing.listing_state.count) for listing in listings
    }
    yield _gauge("sapi_listing_records", "Records in a cached listing when it was read", labels, sizes)


def _of_webhooks(receivers: Sequence[overview.WebhookStatus], unread_s: float | None) -> Iterator[Metric]:
    # Hosts of callbacks are chosen by clients, and have one common label.
    waiting: dict[tuple[str, ...], float] = {}
    failing: dict[tuple[str, ...], float] = {}
    for receiver in receivers:
        label = (receiver.name.partition(":")[0],)
        waiting[label] = waiting.get(label, 0) + receiver.waiting
        failing[label] = max(failing.get(label, 0), receiver.failing_s)
    yield _gauge("sapi_webhook_waiting", "Webhooks that wait to be sent", ("receiver",), waiting)
    yield _gauge("sapi_webhook_failing_seconds", "How long a receiver has failed (0: it works)", ("receiver",), failing)
    unread: _Values = {} if unread_s is None else {(): unread_s}
    meaning = "How long the first change of a job waits that no process which sends webhooks has read (0: none)"
    yield _gauge("sapi_webhook_unread_seconds", meaning, (), unread)


def _of_redis(client: redis.Redis) -> Iterator[Metric]:
    memory: Any = client.info("memory")
    yield _gauge("sapi_redis_memory_bytes", "Memory that Redis uses", (), {(): memory["used_memory"]})
    limit = float(memory.get("maxmemory", 0))
    yield _gauge("sapi_redis_memory_limit_bytes", "Memory that Redis may use (0: no limit)", (), {(): limit})
