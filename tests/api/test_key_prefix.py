"""All that the front end writes to Redis is below SAPI_KEY_PREFIX, so that two services can share a Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.api.front_end import FrontEnd, accepted

if TYPE_CHECKING:
    from redis import Redis

#: A part of keys, and what writes them.
_WRITTEN = {
    "limit": "rate limits", "attempts:": "wrong passwords", "session:": "signing in", "job:": "changes",
    "idem:": "Idempotency-Keys", "members:": "batches", "reads_of:": "reads", "queued_by:": "shares of a queue",
    "metrics": "counters", "write_probe": "the probe", "event": "the event log",
}  # fmt: skip


def test_every_key_has_the_prefix(redis_url: str, redis_client: Redis) -> None:
    front_end = FrontEnd(redis_url, settings={"key_prefix": "mine:"}, auth={"rate_limit": "60/minute"})
    client, stranger = front_end.client(), front_end.stranger()
    worker = front_end.worker()
    worker.carry_out(accepted(client.post("/v4/filer/volumes/a", json={}, headers={"Idempotency-Key": "once"})))
    worker.carry_out(accepted(client.get("/v4/filer/volumes", headers={"Prefer": "respond-async"})))
    accepted(client.post("/v4/batches", json={"requests": [{"method": "POST", "path": "/v4/filer/volumes/b"}]}))
    assert client.get("/login").status_code == 302
    assert stranger.get("/v4/filer/volumes", auth=("ann", "wrong")).status_code == 401
    assert client.get("/readyz").status_code == 200
    front_end.flush_counters()
    keys = [key.decode() for key in redis_client.scan_iter()]
    assert [key for key in keys if not key.startswith("mine:")] == []
    assert {part for part in _WRITTEN if not any(key.startswith(f"mine:{part}") for key in keys)} == set()
