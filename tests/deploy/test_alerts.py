"""Each alert is silent while all is well, and fires when its condition holds: its expression is evaluated."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.deploy.stack import ROOT
from worker.config.settings import Settings
from worker.jobs.failure import FAILURE_DETAILS

#: The metrics of a service, by the name and labels of each.
Figures = dict[str, float]
_RULES: list[dict[str, Any]] = yaml.safe_load((ROOT / "deploy/monitoring/alerts.yaml").read_text("utf-8"))["groups"][0][
    "rules"
]
ALERTS = {rule["alert"]: rule for rule in _RULES}
_COMPARISONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Eq: operator.eq,
    ast.Gt: operator.gt,
    ast.Lt: operator.lt,
}
_AGGREGATIONS = r"\b(max without \(instance, pod\)|sum by \([a-z, ]+\)|sum|rate|increase)(?= *\()"


def firing(alert: str, figures: Figures) -> bool:
    """Does the expression hold for a service with one series of each of these figures?"""
    expression = str(ALERTS[alert]["expr"])
    if match := re.fullmatch(r"absent\((\w+)\)", expression):
        return match[1] not in figures
    # One process scraped, one series of each figure: aggregations and rates change nothing.
    plain = re.sub(_AGGREGATIONS, "", expression).replace("histogram_quantile(0.95, ", "(")
    plain = re.sub(r"\[[0-9]+m\]", "", plain)
    plain = re.sub(r"([a-z][a-z_]{5,})(\{[^}]*\})?", lambda series: str(_value(figures, series[0])), plain)
    return _worked_out(ast.parse(" ".join(plain.split()), mode="eval").body) is not None


def _value(figures: Figures, series: str) -> float:
    """The figure with the name of ``series`` and its labels; those of another label are not meant."""
    return figures.get(series, 0.0)


def _worked_out(node: ast.expr) -> float | None:
    """As Prometheus does: a comparison is its left side where it holds, and nothing where it does not."""
    match node:
        case ast.Constant(value=float() | int() as number):
            return float(number)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            factors = _worked_out(left), _worked_out(right)
            return None if factors[0] is None or factors[1] is None else factors[0] * factors[1]
        case ast.BoolOp(op=ast.And(), values=[first, second]):
            return None if _worked_out(second) is None else _worked_out(first)
        case ast.Compare(left=left, ops=[comparison], comparators=[right]):
            value, other = _worked_out(left), _worked_out(right)
            if value is None or other is None:
                return None
            return value if _COMPARISONS[type(comparison)](value, other) else None
    raise AssertionError(f"not understood: {ast.dump(node)}")


_DISK = '{persistentvolumeclaim=~"data-redis-.*"}'
_MEMORY = {"sapi_redis_memory_limit_bytes": 1e9}
_DAY_S = 86400
#: By alert: metrics with which all is well, and some with which it is not.
CASES: dict[str, tuple[list[Figures], list[Figures]]] = {
    "StorageApiRedisAway": ([{"sapi_redis_up": 1}], [{"sapi_redis_up": 0}]),
    "StorageApiRedisRefusesWrites": (
        # While Redis is away, that is said by its own alert.
        [{"sapi_redis_writable": 1, "sapi_redis_up": 1}, {"sapi_redis_writable": 0, "sapi_redis_up": 0}],
        [{"sapi_redis_writable": 0, "sapi_redis_up": 1}],
    ),
    # "Less than a quarter of the disk of Redis is free".
    "StorageApiRedisDiskFillsUp": (
        [{"kubelet_volume_stats_available_bytes" + _DISK: 26, "kubelet_volume_stats_capacity_bytes" + _DISK: 100}],
        [{"kubelet_volume_stats_available_bytes" + _DISK: 24, "kubelet_volume_stats_capacity_bytes" + _DISK: 100}],
    ),
    "StorageApiAbsent": ([{"sapi_redis_up": 0}, {"sapi_redis_up": 1}], [{}]),
    "StorageApiNoWorker": ([{"sapi_workers_online": 1}], [{"sapi_workers_online": 0}]),
    "StorageApiJobsWait": ([{"sapi_queue_oldest_seconds": 60}], [{"sapi_queue_oldest_seconds": 600}]),
    # Before SAPI_QUEUE_LIMIT is reached, and not at half of it.
    "StorageApiQueueFillsUp": (
        [{"sapi_queue_jobs": 0.7 * limit, "sapi_queue_jobs_limit": limit} for limit in (10, 1000, 50_000)],
        [{"sapi_queue_jobs": 0.9 * limit, "sapi_queue_jobs_limit": limit} for limit in (10, 1000, 50_000)],
    ),
    "StorageApiFilerAway": ([{"sapi_filer_up": 1}], [{"sapi_filer_up": 0}]),
    "StorageApiBreakerOpen": (
        [{'sapi_filer_breakers{state="closed"}': 2}],
        [{'sapi_filer_breakers{state="open"}': 1}],
    ),
    # "More than a tenth of the jobs fail, and not for what their users asked".
    "StorageApiJobsFail": (
        [
            {"sapi_jobs_ended_total": 1, 'sapi_jobs_ended_total{fault="service"}': 0.09},
            {"sapi_jobs_ended_total": 1, 'sapi_jobs_ended_total{fault="request"}': 1},
            {},
        ],
        [{"sapi_jobs_ended_total": 1, 'sapi_jobs_ended_total{fault="service"}': 0.11}],
    ),
    "StorageApiOutcomeUnknown": ([{}], [{'sapi_jobs_failed_total{code="outcome-unknown"}': 1}]),
    "StorageApiWorkersLost": ([{}], [{'sapi_jobs_failed_total{code="worker-lost"}': 1}]),
    # "More than one request in twenty is answered with 5xx".
    "StorageApiErrors": (
        [{"sapi_http_requests_total": 1, 'sapi_http_requests_total{status="5xx"}': 0.04}, {}],
        [{"sapi_http_requests_total": 1, 'sapi_http_requests_total{status="5xx"}': 0.06}],
    ),
    "StorageApiSlow": ([{"sapi_http_request_seconds_bucket": 1}], [{"sapi_http_request_seconds_bucket": 10}]),
    # Long after it became stale, and long before the copy expires.
    "StorageApiListingOld": (
        [{"sapi_listing_age_seconds": 10 * Settings().cache_fresh}],
        [{"sapi_listing_age_seconds": 0.5 * Settings().cache_keep}],
    ),
    # Where there is no limit, it is never full.
    "StorageApiRedisFull": (
        [{**_MEMORY, "sapi_redis_memory_bytes": 7e8}, {"sapi_redis_memory_bytes": 7e8}],
        [{**_MEMORY, "sapi_redis_memory_bytes": 9e8}],
    ),
    # Long before the events are deleted.
    "StorageApiWebhooksNotMade": (
        [{"sapi_webhook_unread_seconds": 0}, {"sapi_webhook_unread_seconds": 5}, {}],
        [{"sapi_webhook_unread_seconds": Settings().events_keep / 4}],
    ),
    # Long before webhooks are lost, which they are after a day.
    "StorageApiWebhookFails": (
        [{"sapi_webhook_failing_seconds": 0}, {"sapi_webhook_failing_seconds": 60}],
        [{"sapi_webhook_failing_seconds": _DAY_S / 24}],
    ),
}


def test_there_are_cases_for_every_alert() -> None:
    assert CASES.keys() == ALERTS.keys()


@pytest.mark.parametrize("alert", CASES)
def test_alert_fires_when_it_should_and_only_then(alert: str) -> None:
    well, ill = CASES[alert]
    assert [figures for figures in well if firing(alert, figures)] == []
    assert [figures for figures in ill if not firing(alert, figures)] == []


@pytest.mark.parametrize("alert", ALERTS)
def test_critical_alerts_fire_within_five_minutes(alert: str) -> None:
    rule = ALERTS[alert]
    waits_min = int(rule.get("for", "0m").removesuffix("m"))
    assert waits_min <= (5 if rule["labels"]["severity"] == "critical" else 15)


def test_alerts_about_outages_are_critical() -> None:
    critical = {
        name.removeprefix("StorageApi") for name, rule in ALERTS.items() if rule["labels"]["severity"] == "critical"
    }
    assert critical == {
        "RedisAway", "RedisRefusesWrites", "RedisDiskFillsUp", "RedisFull", "Absent", "NoWorker", "FilerAway",
    }  # fmt: skip


def test_rates_of_alerts_have_windows_of_several_samples() -> None:
    """Of a window as short as the time between two fetches there is no rate; what happens once is an alert for long."""
    windows = {
        (function, int(minutes))
        for rule in ALERTS.values()
        for function, minutes in re.findall(r"\b(rate|increase)\([a-z_]+(?:\{[^}]*\})?\[(\d+)m\]", rule["expr"])
    }
    assert windows >= {("rate", 5), ("increase", 15)}
    assert min(minutes for function, minutes in windows if function == "rate") >= 5
    assert min(minutes for function, minutes in windows if function == "increase") >= 15


def test_codes_and_metrics_of_alerts_exist() -> None:
    codes = {code for rule in ALERTS.values() for code in re.findall(r'code="([^"]+)"', rule["expr"])}
    assert len(codes) >= 2
    assert codes <= FAILURE_DETAILS.keys()


def test_annotations_use_labels_of_their_metric() -> None:
    manual = (ROOT / "docs/operating.md").read_text("utf-8")
    rows = re.findall(r"^\| (`sapi_[^|]*) \| ([a-z, ]*) ?\|", manual, re.MULTILINE)
    labels = {name: set(re.findall(r"\w+", row[1])) for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    named = {}
    for alert, rule in ALERTS.items():
        used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        (first, *_) = re.findall(r"sapi_\w+|kubelet_\w+", rule["expr"])
        grouped = re.search(r"sum by \(([a-z, ]+)\)", rule["expr"])
        named[alert] = (used, set(re.findall(r"\w+", grouped[1])) if grouped else labels.get(first, set()))
    assert {alert: used - there for alert, (used, there) in named.items() if used - there} == {}
    assert len([used for used, _ in named.values() if used]) >= 8
