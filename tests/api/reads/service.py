"""The front end and a worker in one process, on a real Redis: jobs run when a test says so, or in the background."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from redis import Redis
from werkzeug.test import TestResponse

from api.app import create_app
from api.auth import AuthSettings
from api.services import Services
from api.settings import ApiSettings
from storage_backends.configuration.subsystems import Subsystems
from worker.catalog.operations import QueueClass
from worker.config.settings import Settings
from worker.execution.lease import Lease
from worker.runtime import Runtime, build

_AUTH = {
    "debug": True,
    "secret_key": "for tests only, and long enough",
    "basic_auth_username": "admin",
    "basic_auth_password": "secret",
    "audit_log": "/dev/null",
}


class Service:
    """One service with one dummy filer called ``dummy``."""

    def __init__(
        self,
        redis_url: str,
        folder: Path,
        *,
        volumes: int = 12,
        api: dict | None = None,
        options: dict | None = None,
        **values: Any,
    ):
        self.away_file = folder / "away"
        #: The cache keys of the reads that reached the application itself, where a test counts them.
        self.times: list[str] = []
        self.redis = Redis.from_url(redis_url)
        options = {
            "volumes": volumes, "state_dir": str(folder), "away_file": str(self.away_file), **(options or {}),
        }  # fmt: skip
        subsystems = Subsystems.from_environment({"SAPI_BACKENDS": _backends(options)})
        self.settings = Settings(redis_url=redis_url, debug=True, **values)
        self.config = ApiSettings(**({"read_wait": 0.0} | (api or {})))
        self.app, self.services = self._front_end()
        self.worker: Runtime = build(self.settings, subsystems, list(QueueClass), "test")
        self.backend = self.worker.gateways["dummy"]._opened()

    def _front_end(self, **auth: Any) -> tuple[Flask, Services]:
        services = Services.build(self.settings, self.config, ("dummy",))
        return create_app(services, AuthSettings.model_validate(_AUTH | auth)), services

    def another_front_end(self, **auth: Any) -> Flask:
        """Another API process, as far as one process can be two; with these settings of sign-in."""
        return self._front_end(**auth)[0]

    def get(self, path: str = "volumes", app: Flask | None = None, **headers: str) -> TestResponse:
        """GET a path of the subsystem."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return (app or self.app).test_client().get(f"/v4/dummy/{path}", headers=sent, auth=("admin", "secret"))

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> TestResponse:
        """Ask for a change."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.app.test_client().open(
            f"/v4/dummy/{path}", method=method, json=body, headers=sent, auth=("admin", "secret")
        )

    def waiting(self) -> list[str]:
        """The jobs that wait, queue class by queue class."""
        job_ids: list[str] = []
        for queue_class in QueueClass:
            ids: Any = self.redis.zrange(f"sapi:queued:dummy.{queue_class}", 0, -1)
            job_ids += [job_id.decode() for job_id in ids]
        return job_ids

    def run(self, job_id: str) -> None:
        """Carry one job out, if it is its turn."""
        runner = self.worker.runner
        lease = runner._claims.claim(job_id)
        if isinstance(lease, Lease):
            # Without the runner around it, the end of this job claims no other.
            runner._executor.execute(lease)

    def run_all(self) -> int:
        """Carry out what waits; how many jobs that were."""
        ids = self.waiting()
        for job_id in ids:
            self.run(job_id)
        return len(ids)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Carry jobs out in the background inside the block."""
        end = threading.Event()

        def work() -> None:
            while not end.wait(0.005):
                self.run_all()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()

    def change(self, method: str, path: str, body: Any = None) -> None:
        """Make a change, to its success."""
        accepted = self.ask(method, path, body)
        assert accepted.status_code == 202, accepted.text
        job_id = accepted.headers["Location"].rpartition("/")[2]
        self.run(job_id)
        assert self.state(job_id) == "succeeded"

    def state(self, job_id: str) -> str:
        state: Any = self.redis.hget(f"sapi:job:{job_id}", "state")
        return str(state.decode())

    def age(self, cache_key: str, seconds: float) -> None:
        """Let a listing have begun so much earlier."""
        key = f"sapi:listing:{cache_key}"
        as_of: Any = self.redis.hget(key, "as_of")
        self.redis.hset(key, "as_of", int(as_of) - int(seconds * 1000))

    def close(self) -> None:
        self.worker.publisher.close()
        self.services.publisher.close()
        self.redis.close()


def _backends(options: dict[str, Any]) -> str:
    return "dummy🌈DummyStorage" + "".join(f"🌈{name}🌈{value}" for name, value in options.items())
