"""The console on a front end of its own, whose jobs are carried out when a test says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.api.front import Front, accepted

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from tests.api.front import Worker

VOLUME = "/v4/filer/volumes/db01"


@pytest.fixture
def filled(front: Front, client: FlaskClient, worker: Worker) -> str:
    """The name of a volume with two snapshots and a lock; its listing is cached."""
    worker.carry_out(accepted(client.post(VOLUME, json={"size_total": 2**30})))
    for name in ("first", "second"):
        worker.carry_out(accepted(client.post(f"{VOLUME}/snapshots/{name}", json={})))
    worker.carry_out(accepted(client.put(f"{VOLUME}/locks/host1.example.org")))
    for path in ("/v4/filer/volumes", f"{VOLUME}/snapshots", f"{VOLUME}/locks", "/v4/filer/export"):
        worker.carry_out(accepted(client.get(path, headers={"Prefer": "respond-async"})))
    worker.carry_out(accepted(client.get("/v4/filer/restricted", headers={"Prefer": "respond-async"})))
    return "db01"
