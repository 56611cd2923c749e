"""The package's client on a driver whose service answers in a simple way, to see what each method sends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

from flows import JOB, answer
from storage_api_client import Client
from storage_api_client.blocking.job import Job
from storage_api_client.models import JobRecord
from storage_api_client.protocol.messages import Emit, Ended, Pause, ReadChunk, Request, advance

_ENDED = JOB | {"state": "succeeded", "done": True, "result": {"value": {}}}
#: With characters that a path has only in escaped form.
NAME = "a b?#%"
_HEADERS = ("Prefer", "Cache-Control", "Last-Event-ID", "Callback-URL", "Authorization")


class Answering:
    """A driver whose service has every job done, and answers everything else alike."""

    def __init__(self, *_: Any) -> None:
        self.sent: list[Any] = []

    def close(self) -> None:
        """There is nothing to close."""

    def run(self, flow: Any) -> Any:
        assert list(self.iterate(flow)) == []
        return self.returned

    def iterate(self, flow: Any) -> Iterator[Any]:
        command, self.returned = advance(flow), None
        while not isinstance(command, Ended | ReadChunk):
            if isinstance(command, Emit):
                yield command.value
            known = isinstance(command, Emit | Pause)
            command = advance(flow, None if known else self._answer(command.request))
        self.returned = getattr(command, "value", None)

    def _answer(self, request: Request) -> Any:
        headers: list[Any] = [request.headers.get(name) for name in _HEADERS]
        # Without one that is chosen, each call has a new one.
        headers.append(request.headers.get("Idempotency-Key") == "idempotency_key")
        line = (request.method, request.path, request.query, request.body)
        self.sent.append((*line, headers, round(request.limit_s)))
        if request.path == "/conf/roles":
            return answer(200, [NAME, "r"])
        if request.method == "GET":
            is_job = request.path.startswith("/v4/jobs/") and not request.path.endswith("/result")
            return answer(200, _ENDED if is_job else [])
        return answer(202, {**JOB, "ended": 1})


def parts(timeout: float | None = None, token: str | None = None) -> tuple[Answering, dict[str, Any]]:
    """The parts of a client, by name, and its driver."""
    with patch("storage_api_client.blocking.client.Driver", Answering):
        client = Client("http://127.0.0.1:9", token=token, timeout=timeout)
    executor = client._executor
    subsystem = client.subsystem("s")
    job: Job[Any] = Job.bound(JobRecord.of(JOB), executor)
    named = {"client": client, "volumes": subsystem.volumes, "policies": subsystem.policies, "jobs": client.jobs}
    return executor.driver, named | {"job": job}  # type: ignore[return-value]
