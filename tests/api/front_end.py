"""A front end on a real Redis, and a worker that carries its jobs out when a test says so."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app
from api.auth import AuthSettings
from api.monitoring.request_metrics import EXTENSION as COUNTERS
from api.services import Services
from api.settings import ApiSettings
from storage_backends.configuration.subsystems import Subsystem
from storage_backends.registry import open_backend
from worker.backends.gateway import BackendGateway
from worker.catalog.operations import Role
from worker.config.settings import Settings, load
from worker.execution.claims import Completion, JobClaims
from worker.execution.executor import JobExecutor
from worker.execution.lease import LeaseRenewer
from worker.jobs.failure import Failure
from worker.jobs.record import State
from worker.messaging.messages import TaskMessage

ALL = tuple(Role)
JSON = {"Content-Type": "application/json"}


class SilentPublisher:
    """Publishes no message: jobs stay queued until a test carries them out."""

    def message_for(self, _message: TaskMessage) -> str:
        """None."""
        return ""

    def publish_soon(self, messages: Iterable[TaskMessage]) -> None:
        """Do nothing."""


@dataclass
class Worker:
    """Carries jobs out in the test's own thread."""

    services: Services
    claims: JobClaims
    executor: JobExecutor

    def carry_out(self, job_path: str) -> None:
        """Do the job, to its end."""
        lease = self.claims.claim(job_path.rpartition("/")[2])
        assert not isinstance(lease, str), lease
        self.executor.execute(lease)

    def fail(self, job_path: str, code: str) -> None:
        """End the job with a failure."""
        self.claims.complete(self.take(job_path), Completion(State.FAILED, Failure(code, f"It failed: {code}.")))

    def take(self, job_path: str) -> Any:
        """Only take the job: it is running then, and nothing happens to it."""
        return self.claims.claim(job_path.rpartition("/")[2])


class FrontEnd:
    """The application, as others see it over HTTP."""

    def __init__(
        self,
        redis_url: str,
        *,
        settings: Mapping[str, Any] | None = None,
        user_groups: tuple[str, ...] = ("users",),
        auth: Mapping[str, Any] | None = None,
        **config: Any,
    ) -> None:
        self.settings = load(Settings, redis_url=redis_url, SAPI_DEBUG=True, **(settings or {}))
        self._user_groups = user_groups
        self._auth = auth or {}
        services = Services.build(self.settings, load(ApiSettings, **config), ("filer", "other"))
        self.services = replace(services, publisher=SilentPublisher())  # type: ignore[arg-type]
        self._apps: dict[tuple[Role, ...], Flask] = {}

    def app(self, roles: tuple[Role, ...] = ALL) -> Flask:
        """The application, whose one user has these roles."""
        if roles not in self._apps:
            settings = load(
                AuthSettings,
                basic_auth_username="ann",
                basic_auth_password="open",
                basic_auth_roles=roles,
                role_user_groups=self._user_groups,
                SAPI_DEBUG=True,
                **self._auth,
            )
            self._apps[roles] = create_app(self.services, settings)
        return self._apps[roles]

    def flush_counters(self) -> None:
        """Write what was counted until now."""
        for app in self._apps.values():
            app.extensions[COUNTERS].flush()

    def client(self, *roles: Role) -> FlaskClient:
        """A client that is signed in with these roles (none: with every one)."""
        client = self.app(roles or ALL).test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = "Basic " + base64.b64encode(b"ann:open").decode()
        return client

    def stranger(self) -> FlaskClient:
        """A client that has not signed in."""
        return self.app().test_client()

    def worker(self) -> Worker:
        """A worker on a small dummy."""
        services, settings, drain = self.services, self.settings, threading.Event()
        claims = JobClaims(
            services.scripts,
            LeaseRenewer(services.scripts, settings.lease, on_hang=print),
            services.publisher,
            settings,
            drain,
        )
        filer = BackendGateway("filer", lambda: open_backend(Subsystem("filer", "DummyStorage")), services.listings)
        return Worker(services, claims, JobExecutor(claims, {"filer": filer}, services.listings, settings))


def accepted(response: TestResponse) -> str:
    """The path of the job that was accepted; its headers are those of every accepted job."""
    assert response.status_code == 202, response.json
    job, headers = response.get_json(), response.headers
    assert headers["Operation-Location"] == headers["Location"] == job["links"]["self"]
    assert ("Retry-After" in headers) is not job["done"]
    assert (bool(headers["ETag"]), headers["Cache-Control"]) == (True, "no-store")
    return headers["Location"]


def problem(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """The problem document that was answered."""
    assert (response.status_code, response.content_type) == (status, "application/problem+json"), response.data
    assert response.headers["Cache-Control"] == "no-store"
    document: dict[str, Any] = response.json  # type: ignore[assignment]
    assert document["code"] == code
    assert document["status"] == status
    assert document["type"] == f"/problems/{code}"
    assert document["request_id"] == response.headers["X-Request-ID"]
    # When to send it again is said only of what may go otherwise then; or first look whether it was accepted.
    perhaps_accepted = "may have been accepted" in document["detail"]
    assert document["retryable"] or perhaps_accepted or "Retry-After" not in response.headers
    return document


#: Sources of a Content-Security-Policy with which a page loads and sends nothing elsewhere.
OURS = frozenset({"'self'", "'none'", "data:"})


def sources(policy: str) -> set[str]:
    """The sources that a Content-Security-Policy allows."""
    return {source for directive in policy.split(";") for source in directive.split()[1:]}


def pointers(document: dict[str, Any]) -> list[str]:
    """The members of the request that a problem complains of."""
    return [error["pointer"] for error in document["errors"]]
