"""The console on a front end of its own, whose jobs are carried out when a test says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.api.front_end import FrontEnd, accepted

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from tests.api.front_end import Worker

VOLUME = "/v4/filer/volumes/db01"


@pytest.fixture(scope="session")
def shared_front(redis_url: str) -> FrontEnd:
    """What is cached stays fresh, however slow the machine is."""
    return FrontEnd(redis_url, settings={"cache_fresh": 86400})


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages wait for no job."""
    monkeypatch.setattr("api.http.preferences.whole_number", lambda _text: 0)


@pytest.fixture
def filled(front_end: FrontEnd, client: FlaskClient, worker: Worker) -> str:
    """The name of a volume with two snapshots and a lock; its listing is cached."""
    worker.carry_out(accepted(client.post(VOLUME, json={"size_total": 2**30})))
    for name in ("first", "second"):
        worker.carry_out(accepted(client.post(f"{VOLUME}/snapshots/{name}", json={})))
    worker.carry_out(accepted(client.put(f"{VOLUME}/locks/host1.example.org")))
    listings = ("/v4/filer/volumes", f"{VOLUME}/snapshots", f"{VOLUME}/locks", "/v4/filer/restricted")
    for path in (*listings, "/v4/filer/export", "/v4/filer/export/default"):
        answer = client.get(path, headers={"Prefer": "respond-async"})
        if answer.status_code != 200:
            worker.carry_out(accepted(answer))
    return "db01"
