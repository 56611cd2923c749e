"""``job wait --timeout`` is for all that it does: also for a service that is away from the first request on."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import AsyncMock

import pytest

from storage_api_client.cli.commands.jobs import wait_for
from storage_api_client.cli.state import State


@pytest.mark.parametrize("timeout", [5.0, None])
def test_the_client_has_the_timeout_of_the_option(timeout: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float | None] = []
    api = AsyncMock()

    @asynccontextmanager
    async def client(_state: State, limit: float | None = None) -> Any:
        limits.append(limit)
        yield api

    monkeypatch.setattr(State, "async_client", client)
    # An id that is named twice is one job.
    wait_for(State(), ("1", "2", "1"), timeout)
    assert limits == [timeout]
    assert [call.args for call in api.jobs.get.await_args_list] == [("1",), ("2",)]
