"""Deliveries to one receiver."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tests.worker.harness import PREFIX, Harness
from worker.jobs.event_log import EventLog
from worker.webhooks.dispatcher import Dispatcher
from worker.webhooks.outbox import Outbox
from worker.webhooks.receivers import Receiver


def make_deliveries(harness: Harness, count: int, *, backoff_ms: int = 60_000) -> Outbox:
    """Make deliveries for the receiver ``one``."""
    deliveries = [[f"msg_{number}", "one", {"body": "{}", "job_id": "job"}] for number in range(count)]
    assert harness.scripts.dispatch_webhooks("", "1-0-1", deliveries)
    return Outbox(harness.client, harness.scripts, PREFIX, backoff_ms=backoff_ms)


def state_of(harness: Harness) -> dict[str, str]:
    found: Any = harness.client.hgetall(f"{PREFIX}webhook_state:one")
    return {name.decode(): value.decode() for name, value in found.items()}


def dispatcher_of(
    harness: Harness,
    *,
    silent_s: float = 0.0,
    log: Any = None,
    callbacks: bool = True,
    publish: Any = lambda *_: None,
    receivers: Mapping[str, Receiver] = MappingProxyType({}),
) -> tuple[Dispatcher, list[str]]:
    """One that ends when it has reported a state."""
    states: list[str] = []

    def report(state: str) -> None:
        states.append(state)
        dispatcher.stop()

    outbox = Outbox(harness.client, harness.scripts, PREFIX)
    dispatcher = Dispatcher(
        log or EventLog(harness.client, PREFIX), outbox, harness.scripts, receivers, publish,
        callbacks=callbacks, report_health=report, silent_s=lambda: silent_s, restart=lambda: None,
    )  # fmt: skip
    return dispatcher, states
