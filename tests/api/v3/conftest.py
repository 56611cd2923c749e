"""The v3 API of a service whose worker runs in the background, as its clients see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from werkzeug.test import TestResponse

from api.v3.settings import EXTENSION
from tests.api.reads.service import Service

WAIT_S = 0.3


@dataclass
class V3Client:
    """Sends requests as a client of the v3 API does."""

    service: Service

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> TestResponse:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        options: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
        client = self.service.app.test_client()
        answer = client.open(f"/v3{path}", method=method, headers=sent, auth=("admin", "secret"), **options)
        if answer.status_code == 204:
            # An empty body has no media type.
            assert (answer.data, "Content-Type" in answer.headers) == (b"", False)
        return answer

    def message(self, status: int, method: str, path: str, body: Any = None, **headers: str) -> str:
        """What an error says, which is in its shape."""
        answer = self(method, path, body, **headers)
        assert (answer.status_code, answer.content_type) == (status, "application/json"), answer.data
        assert answer.data.endswith(b"}\n")
        error: Any = answer.json
        assert set(error) <= {"message", "errors", "errno", "job"}
        assert answer.headers["Deprecation"].startswith("@")
        return str(error["message"])


@pytest.fixture
def make_v3(
    redis_client: Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., V3Client]]:
    """Make a service with these settings of the v3 API."""
    made: list[Service] = []

    def make(
        *, api: dict | None = None, options: dict | None = None, wait_s: float | None = None, **settings: Any
    ) -> V3Client:
        for name, value in settings.items():
            monkeypatch.setenv(f"SAPI_{name.upper()}", str(value))
        made.append(Service(redis_url, tmp_path, volumes=3, api=api, options=options))
        if wait_s is not None:
            # Less than a second, which only tests may ask for.
            v3 = made[-1].app.extensions[EXTENSION]
            changed = v3.settings.model_copy(update={"v3_wait": wait_s})
            made[-1].app.extensions[EXTENSION] = replace(v3, settings=changed)
        return V3Client(made[-1])

    yield make
    for service in made:
        service.close()


@pytest.fixture
def idle(make_v3: Callable[..., V3Client]) -> V3Client:
    """No worker runs, and requests are held for a moment."""
    return make_v3(wait_s=WAIT_S)


@pytest.fixture
def ask(make_v3: Callable[..., V3Client]) -> Iterator[V3Client]:
    """Jobs are carried out at once."""
    old = make_v3(v3_wait=20, options={"snapshot_limit": 3})
    with old.service.running():
        yield old
