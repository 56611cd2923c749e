"""Jobs in each state."""

from __future__ import annotations

import pytest

from tests.api.front_end import accepted

URL = "/v4/filer/volumes/db01"


@pytest.fixture
def queued(client):
    """A job that no worker has begun."""
    return accepted(client.post(URL, json={"size_total": 10**9}))


@pytest.fixture
def succeeded(worker, queued):
    worker.carry_out(queued)
    return queued


@pytest.fixture
def failed(client, worker):
    path = accepted(client.delete("/v4/filer/volumes/none"))
    worker.carry_out(path)
    return path
