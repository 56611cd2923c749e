"""The gateway to a storage system: what opens its circuit breaker, what is counted, and what is published about it."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import redis
from redis import Redis

from storage_backends.base import StorageBackend
from storage_backends.errors import BackendUnavailable, NoSuchVolume
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from worker.backends.gateway import BackendGateway
from worker.backends.health_monitor import HealthMonitor
from worker.listings.repository import UNAVAILABLE_MS, Listings

_UNREACHABLE = f"{PREFIX}unreachable:{SUBSYSTEM}"


class Counted:
    """A gateway, and the outcomes that it has counted."""

    def __init__(self, harness: Harness) -> None:
        self.outcomes: list[str] = []
        self.redis: Redis = harness.client
        listings = Listings(harness.client, harness.scripts, harness.settings)
        self.gateway = BackendGateway(SUBSYSTEM, lambda: harness.backend, listings, self.outcomes.append)

    def use(self, error: Exception | None = None) -> None:
        """Use it, with an error of the storage system or without."""
        with self.gateway.session():
            if error is not None:
                raise error


@pytest.fixture
def counted(harness: Harness) -> Counted:
    return Counted(harness)


def test_the_breaker_opens_after_five_connection_failures_in_a_row(counted: Counted):
    for number in range(5):
        assert counted.gateway.breaker_state == "closed", number
        # The failure that opens it is reported with its own reason.
        with pytest.raises(BackendUnavailable, match=rf"^Nobody is there {number}\.$"):
            counted.use(BackendUnavailable(f"Nobody is there {number}."))
    assert counted.gateway.breaker_state == "open"
    with pytest.raises(BackendUnavailable, match=r"^Nobody is there 4\. After several failures"):
        counted.use()
    with pytest.raises(BackendUnavailable, match=r"it is not asked for 10 s at a time\.$"):
        counted.use()
    counted.outcomes.pop()
    assert counted.outcomes == ["backend-unavailable"] * 5 + ["breaker-open"]


def test_refusals_and_internal_errors_do_not_open_it(counted: Counted):
    for _ in range(6):
        with pytest.raises(NoSuchVolume):
            counted.use(NoSuchVolume("none"))
        with pytest.raises(RuntimeError):
            counted.use(RuntimeError("a bug"))
    counted.use()
    assert counted.gateway.breaker_state == "closed"
    assert counted.outcomes == ["no-such-volume", "interrupted"] * 6 + ["ok"]
    assert not counted.redis.exists(_UNREACHABLE)


def test_the_unreachable_mark_is_set_until_it_answers(counted: Counted):
    with pytest.raises(BackendUnavailable):
        counted.use(BackendUnavailable("away"))
    assert 10_000 < counted.redis.pttl(_UNREACHABLE) <= UNAVAILABLE_MS
    counted.use()
    assert not counted.redis.exists(_UNREACHABLE)


def test_a_state_that_could_not_be_published_is_published_with_the_next_use(
    harness: Harness, counted: Counted, monkeypatch: pytest.MonkeyPatch
):
    def away(*_: Any, **__: Any) -> None:
        raise redis.ConnectionError("away")

    with pytest.raises(BackendUnavailable):
        counted.use(BackendUnavailable("away"))
    with monkeypatch.context() as patched:
        patched.setattr(Listings, "set_unavailable", away)
        counted.use()
    assert counted.redis.exists(_UNREACHABLE)
    counted.use()
    assert not counted.redis.exists(_UNREACHABLE)


def test_the_unreachable_mark_is_renewed_while_the_breaker_is_open(counted: Counted):
    for _ in range(5):
        with pytest.raises(BackendUnavailable):
            counted.use(BackendUnavailable("away"))
    counted.redis.delete(_UNREACHABLE)
    with pytest.raises(BackendUnavailable):
        counted.use()
    assert counted.redis.exists(_UNREACHABLE)


def test_a_failed_check_has_a_reason_without_text_of_unknown_errors(harness: Harness, counted: Counted):
    def failing(error: Exception) -> Any:
        def check() -> tuple[str, ...]:
            raise error

        return check

    harness.backend.check = failing(BackendUnavailable("The name does not resolve."))  # type: ignore[method-assign]
    assert {**counted.gateway.check(), "at": ""} == {
        "status": "unavailable", "code": "backend-unavailable", "detail": "The name does not resolve.", "at": "",
    }  # fmt: skip
    harness.backend.check = failing(RuntimeError("secret of host7"))  # type: ignore[method-assign]
    health = counted.gateway.check()
    assert (health["status"], health["code"]) == ("unavailable", "backend-error")
    assert health["detail"] == "The check itself failed (RuntimeError)."


def test_the_state_of_each_storage_system_is_published_for_some_checks(harness: Harness, counted: Counted):
    monitor = HealthMonitor({SUBSYSTEM: counted.gateway}, harness.client, PREFIX, every_s=30)
    monitor._check(counted.gateway)
    health = harness.client.get(f"{PREFIX}health:{SUBSYSTEM}")
    assert isinstance(health, bytes)
    assert json.loads(health)["status"] == "available"
    assert 60 < harness.client.ttl(f"{PREFIX}health:{SUBSYSTEM}") <= 120


def test_every_storage_system_is_checked_also_while_redis_and_another_do_not_answer():
    checked: list[str] = []
    is_over, answer = threading.Event(), threading.Event()

    class Checked:
        def __init__(self, name: str) -> None:
            self.name = name

        def check(self) -> dict[str, str]:
            if self.name == "silent":
                assert answer.wait(20)
            checked.append(self.name)
            if checked == ["one", "one", "silent"]:
                monitor.stop()
                is_over.set()
            if len(checked) == 2:
                answer.set()
            return {"status": "available", "code": "", "detail": ""}

    class Away:
        def set(self, *_: Any, **__: Any) -> None:
            raise redis.ConnectionError("away")

    gateways: Any = {name: Checked(name) for name in ("silent", "one")}
    client: Any = Away()
    monitor = HealthMonitor(gateways, client, PREFIX, every_s=1)
    monitor.start()
    assert is_over.wait(20)


def test_the_back_end_is_opened_once_and_closed_with_its_worker(harness: Harness):
    opened, closed = list[int](), list[int]()

    def open_backend() -> StorageBackend:
        opened.append(1)
        return harness.backend

    gateway = BackendGateway(SUBSYSTEM, open_backend, Listings(harness.client, harness.scripts, harness.settings))
    gateway.close()
    for _ in range(2):
        with gateway.session() as backend:
            assert backend is harness.backend
    harness.backend.close = lambda: closed.append(1)  # type: ignore[method-assign]
    gateway.close()
    assert (opened, closed) == ([1], [1])
