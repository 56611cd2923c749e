"""Large bodies: sent in parts, and no more of them at a time than fit into memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from api.http import large_responses
from api.http.large_responses import LargeResponseMiddleware
from api.limits.bodies_in_flight import BodiesInFlight
from api.limits.concurrency_limiter import ON_ADMIN_PORT, REFUSED_BY, ConcurrencyLimiter
from tests.api.front_end import FrontEnd
from tests.api.limits.permits import identified
from tests.deploy.stack import ROOT
from worker.catalog.operations import Role

LARGE = 2**20 + 1
BODY = bytes(range(256)) * 4096 + b"!"


class Server:
    """A service that answers with ``body``, as the server calls it; one large body may be sent at a time."""

    def __init__(self) -> None:
        self.body: Any = [BODY]
        self.limiter = ConcurrencyLimiter(1, 1)
        self.in_flight = BodiesInFlight(LARGE, 100)
        self.middleware = LargeResponseMiddleware(self._answer, self._refuse, self.limiter, self.in_flight)
        self.started: list[str] = []

    def _answer(self, _environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return self.body

    def _refuse(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("429 Too Many Requests", [])
        return [environ[REFUSED_BY].encode()]

    def ask(self, **environ: Any) -> Iterable[bytes]:
        return self.middleware(environ, lambda status, _headers: self.started.append(status))


@pytest.fixture
def server() -> Server:
    return Server()


def test_a_large_body_is_sent_in_parts_and_released_at_its_end(server: Server) -> None:
    assert len(BODY) == LARGE
    parts = list(server.ask())
    assert [len(part) for part in parts] == [2**18] * 4 + [1]
    assert b"".join(parts) == BODY
    assert not server.in_flight._sent
    assert server.started == ["200 OK"]


@pytest.mark.parametrize("body", [[b"x" * (LARGE - 1)], [], [BODY, b"more"], iter([BODY])])
def test_other_bodies_are_passed_unchanged(server: Server, body: Any) -> None:
    server.body = body
    assert server.ask() is body
    assert (server.started, server.in_flight._sent.total()) == (["200 OK"], 0)


def test_a_second_large_body_is_refused_until_the_first_is_read_or_closed(server: Server) -> None:
    first: Any = server.ask()
    next(first)
    server.body = [BODY[:-1] + b"?"]
    assert list(server.ask()) == [b"SAPI_LISTING_CACHE_BYTES"]
    # As the server does.
    first.close()
    first.close()
    left = server.ask()
    assert list(server.ask()) != []
    # Dropped before its first part was taken.
    del left
    assert not server.in_flight._sent
    assert server.started == ["200 OK", "429 Too Many Requests", "200 OK", "200 OK"]


def test_users_with_a_role_for_changes_and_the_admin_port_are_not_limited(server: Server) -> None:
    identified(server.limiter, {"Authorization": "of an admin"}, Role.ADMIN)
    held = server.ask()
    server.body = [BODY[:-1] + b"?"]
    others: list[dict[str, Any]] = [{"HTTP_AUTHORIZATION": "of an admin"}, {ON_ADMIN_PORT: True}]
    assert [b"".join(server.ask(**environ)) for environ in others] == server.body * 2
    assert server.in_flight._sent.total() == 1
    del held


@pytest.fixture
def full(redis_url: str, redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FrontEnd]:
    """A service that sends a large body already, with no memory for another one."""
    monkeypatch.setattr(large_responses, "_LARGE_BYTES", 10)
    front_end = FrontEnd(redis_url, user_groups=(), listing_cache_bytes=0)
    assert front_end.services.bodies_in_flight.hold("somebody", BODY)
    yield front_end
    front_end.services.bodies_in_flight.release("somebody", BODY)


@pytest.mark.parametrize("path", ["/openapi.json", "/v4/filer/none", "/v3/filer/none"])
def test_the_refusal_has_the_form_of_its_api(full: FrontEnd, path: str) -> None:
    refused = full.stranger().get(path)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    document = refused.get_json()
    assert "limit=" in document["message" if path.startswith("/v3") else "detail"]
    assert document.get("limit") == (None if path.startswith("/v3") else "SAPI_LISTING_CACHE_BYTES")


def test_large_bodies_of_a_process_fit_into_its_container() -> None:
    """Of two processes: themselves, listings, a half of that for bodies in flight, a quarter for repeated ones."""
    memory_mib = 2 * (100 + 256 + 128 + 64)
    api = (ROOT / "deploy/kubernetes/base/api.yaml").read_text("utf-8")
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")
    limits = re.findall(r"limits: {cpu: \"2\", memory: (\d+)Mi}", api) + re.findall(
        r"SAPI_API_MEMORY:-(\d+)m}", compose
    )
    assert len(limits) == 2
    assert all(int(limit) > memory_mib for limit in limits)
