"""A client of the service as a script would use it: submit, wait, poll."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

_LIMIT_S = 40


@dataclass(frozen=True)
class Service:
    """Where the running service is, and the file whose existence makes its storage system ``away`` unreachable."""

    url: str
    flower: str
    away_file: Path
    folder: Path


class Client(requests.Session):
    """A session with the service's address before every path, and no redirect left out."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.trust_env = False
        self.url = url

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        kwargs.setdefault("timeout", _LIMIT_S)
        return super().request(method, url if "://" in url else self.url + url, *args, **kwargs)

    def change(self, method: str, path: str, body: Any = None, *, wait: int = 20, **headers: str) -> requests.Response:
        """Submit a change and wait for its end."""
        return self.request(method, path, json=body, headers={"Prefer": f"wait={wait}", **headers})

    def submit(self, method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        """Submit a change and return its job at once."""
        answer = self.request(method, path, json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def ended(self, job_id: str) -> dict[str, Any]:
        """Return a job when it has ended, by long polls."""
        until = time.monotonic() + _LIMIT_S
        tag = ""
        while time.monotonic() < until:
            answer = self.get(f"/v4/jobs/{job_id}", headers={"Prefer": "wait=10", "If-None-Match": tag})
            if answer.status_code == 304:
                continue
            assert answer.status_code == 200, answer.text
            job: dict[str, Any] = answer.json()
            if job["done"]:
                return job
            tag = answer.headers["ETag"]
        raise AssertionError(f"job {job_id} has not ended within {_LIMIT_S} s")


def problem(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is this problem, whole, and return it."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.text
    document: dict[str, Any] = answer.json()
    assert document["code"] == code, document
    assert {"type", "title", "status", "detail", "instance", "code", "retryable", "request_id"} <= set(document)
    assert document["status"] == status
    assert document["type"] == f"/problems/{code}"
    assert document["request_id"] == answer.headers["X-Request-ID"]
    return document
