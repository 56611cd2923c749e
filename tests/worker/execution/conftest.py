"""A runner with a real worker around it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from storage_backends.configuration.subsystems import Subsystems
from tests.worker.execution.flower_recorder import FlowerEvents
from tests.worker.harness import SUBSYSTEM, Harness
from worker.catalog.operations import QueueClass
from worker.config.settings import Settings, load
from worker.execution.runner import JobRunner
from worker.runtime import Runtime, build


@pytest.fixture
def runtime(harness: Harness, redis_url: str) -> Iterator[Runtime]:
    subsystems = Subsystems.from_environment(
        {"SAPI_BACKENDS": f"{SUBSYSTEM}🌈DummyStorage🌈state_dir🌈{harness.folder}"}
    )
    made = build(load(Settings, redis_url=redis_url, SAPI_DEBUG=True), subsystems, list(QueueClass), "test")
    yield made
    made.stop()


@pytest.fixture
def heard(runtime: Runtime) -> FlowerEvents:
    made: Any = FlowerEvents()
    runtime.celery.flower_events = made
    return made  # type: ignore[no-any-return]


@pytest.fixture
def runner(runtime: Runtime) -> JobRunner:
    return runtime.runner
