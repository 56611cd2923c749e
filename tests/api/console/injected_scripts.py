"""Script as text in every name and message that pages show: what users choose, and what filers and workers say."""

from __future__ import annotations

import json

from storage_backends.configuration.subsystems import Subsystem
from storage_backends.journal import InMemoryJournal
from storage_backends.registry import open_backend
from tests.api.front_end import FrontEnd, Worker, accepted
from worker.execution.claims import Completion
from worker.jobs.failure import Failure
from worker.jobs.record import State

EVIL = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>"
#: Read anew when it was injected on the filer.
_LISTINGS = (
    "/v4/filer/volumes", "/v4/filer/volumes/db01", "/v4/filer/volumes/db01/snapshots", "/v4/filer/volumes/db01/locks",
    "/v4/filer/export", "/v4/filer/export/default", "/v4/filer/restricted",
)  # fmt: skip


def inject(front_end: FrontEnd, worker: Worker) -> None:
    """Inject it, on a front end that has the volume `db01`."""
    _on_the_filer()
    client = front_end.client()
    for path in _LISTINGS:
        fresh = {"Prefer": "respond-async", "Cache-Control": "no-cache"}
        worker.carry_out(accepted(client.get(path, headers=fresh)))
    _in_jobs(front_end, worker)
    # A worker's name is its host's.
    front_end.services.scripts.worker_draining(EVIL, "filer.write")


def _on_the_filer() -> None:
    filer, journal = open_backend(Subsystem("filer", "DummyStorage")), InMemoryJournal
    filer.update_volume("db01", journal=journal(), comment=EVIL, snapshot_policy=EVIL, qos_policy=EVIL)
    filer.create_snapshot("db01", EVIL, journal=journal())
    filer.remove_lock("db01", "host1.example.org", journal=journal())
    filer.create_lock("db01", EVIL, journal=journal())
    filer.create_policy(EVIL, journal=journal(), rules=[EVIL])
    filer.ensure_policy_rule_present("default", EVIL, journal=journal())
    filer.create_volume(EVIL, journal=journal(), aggregate_name=None, junction_path=f"/{EVIL}", comment=EVIL)
    filer.create_volume("gone2", journal=journal(), comment=EVIL)
    filer.restrict_volume("gone2", journal=journal())
    filer.close()


def _in_jobs(front_end: FrontEnd, worker: Worker) -> None:
    client, redis = front_end.client(), front_end.services.redis
    failed = accepted(client.post("/v4/filer/volumes/evil1", json={"comment": EVIL, "active_policy_name": "default"}))
    failure = Failure("backend-error", EVIL, backend_error={"code": EVIL, "message": EVIL})
    worker.claims.complete(worker.take(failed), Completion(State.FAILED, failure))
    attempts = json.dumps([{"at": 1, "code": "retrying", "detail": EVIL, "retry_in_ms": 1000}])
    injected = {"requester": EVIL, "request_id": EVIL, "backend_job": EVIL, "attempts": attempts}
    redis.hset(f"sapi:job:{failed.rpartition('/')[2]}", mapping=injected)  # type: ignore[arg-type]
    running = accepted(client.post("/v4/filer/volumes/evil2", json={}))
    worker.take(running)
    redis.hset(f"sapi:job:{running.rpartition('/')[2]}", mapping={"message": EVIL, "percent": "40", "requester": EVIL})
    members = [{"method": "POST", "path": "/v4/filer/volumes/evil3", "body": {"comment": EVIL}}]
    answer = client.post("/v4/batches", json={"name": EVIL, "requests": members})
    assert answer.status_code == 202, answer.json
