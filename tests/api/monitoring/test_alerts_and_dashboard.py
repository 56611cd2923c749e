"""Alerts and the dashboard name metrics that there are, and count each figure once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.api.monitoring.metric_values import alerts, counts

_MONITORING = Path(__file__).resolve().parents[3] / "deploy" / "monitoring"
_NAME = re.compile(r"\bsapi_[a-z0-9_]+")


def _named(text: str) -> set[str]:
    return set(_NAME.findall(text))


def _queries() -> list[str]:
    dashboard = json.loads((_MONITORING / "dashboard.json").read_text())
    variables = [v["query"]["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
    return variables + [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def test_every_metric_that_alerts_and_dashboard_name_exists(busy):
    there = {name for name, _ in counts(busy)}
    used = set[str]().union(*map(_named, _queries()), *(_named(rule["expr"]) for rule in alerts()))
    assert len(used) > 10
    assert used - there == set()


def test_alerts_are_complete_and_have_unique_names():
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names)) > 10
    for rule in alerts():
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description"}
        assert re.fullmatch(r"[0-9]+[smh]", rule.get("for", "1m"))
        assert _balanced(rule["expr"])


def test_the_dashboard_is_complete():
    dashboard = json.loads((_MONITORING / "dashboard.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    assert all(_balanced(query) for query in _queries())
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


@pytest.mark.parametrize("query", [*_queries(), *(rule["expr"] for rule in alerts())])
def test_no_query_adds_up_service_metrics_over_processes(query):
    """Every API process answers for the whole service."""
    unguarded = re.sub(r"(max without \(instance, pod\)|max|absent|label_values) ?\(.*?sapi_\w+", "", query)
    assert _named(unguarded) == set()


def _balanced(expression: str) -> bool:
    return all(expression.count(opening) == expression.count(closing) for opening, closing in ("()", "{}", "[]"))
