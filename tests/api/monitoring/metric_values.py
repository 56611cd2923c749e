"""Figures of the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from storage_backends.errors import BackendUnavailable
from tests.api.front_end import FrontEnd
from worker.backends.gateway import BackendGateway

_MONITORING = Path(__file__).resolve().parents[3] / "deploy" / "monitoring"


def counts(client) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of /metrics, by its name and labels."""
    text = client.get("/metrics").text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def filer_figures(front_end: FrontEnd, count=lambda _outcome: None) -> BackendGateway:
    def away():
        raise BackendUnavailable("It is away.")

    return BackendGateway("filer", away, front_end.services.listings, count)


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((_MONITORING / "alerts.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]
