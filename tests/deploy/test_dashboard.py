"""The dashboard's panels show what their titles, units and legends say."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.deploy.stack import ROOT

PANELS: list[dict[str, Any]] = json.loads((ROOT / "deploy/monitoring/dashboard.json").read_text("utf-8"))["panels"]
QUERIES = [(panel["title"], panel, target) for panel in PANELS for target in panel.get("targets", ())]
each_query = pytest.mark.parametrize(
    ("panel", "target"), [query[1:] for query in QUERIES], ids=[f"{title}-{i}" for i, (title, *_) in enumerate(QUERIES)]
)


def test_no_two_panels_show_the_same() -> None:
    expressions = [target["expr"] for _, _, target in QUERIES]
    assert len(set(expressions)) == len(expressions) > 15


@each_query
def test_unit_is_that_of_the_figure(panel: dict[str, Any], target: dict[str, Any]) -> None:
    (metric,) = set(re.findall(r"\bsapi_\w+", target["expr"]))
    unit = panel["fieldConfig"]["defaults"]["unit"]
    if re.search(r"_seconds(_bucket)?$", metric):
        assert unit == "s"
    elif metric.endswith("_bytes"):
        assert unit == "bytes"
    else:
        assert unit in ({"ops", "reqps"} if "rate(" in target["expr"] else {"short"})
    assert ("_total" in metric) == bool(re.search(r"\b(rate|increase)\((?!sapi_\w+_bucket)", target["expr"]))


@each_query
def test_metrics_that_every_front_end_reports_are_not_added_up(panel: dict[str, Any], target: dict[str, Any]) -> None:
    first = re.findall(r"\bmax(?: without \(instance, pod\) )?\((?:rate\(|increase\()?sapi_", target["expr"])
    assert len(first) == target["expr"].count("sapi_") >= 1, panel["title"]


@each_query
def test_percentage_and_labels_are_those_of_the_query(panel: dict[str, Any], target: dict[str, Any]) -> None:
    legend, expression = target["legendFormat"], target["expr"]
    stated = re.findall(r"\((\d+) %\)", panel["title"]) + re.findall(r"\bp(\d+)$", legend)
    assert [f"{int(percent) / 100:g}" for percent in stated] == re.findall(r"histogram_quantile\(([0-9.]+)", expression)
    if grouped := re.search(r"sum by \(([a-z, ]+)\)", expression):
        labels = set(re.findall(r"\{\{(\w+)\}\}", legend))
        assert labels <= set(grouped[1].replace(",", " ").split())
    # "not closed" excludes what is closed; a panel of all states names none.
    assert ("not closed" in panel["title"]) == ('state!="closed"' in expression)
