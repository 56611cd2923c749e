"""Logins that a filer refuses: tried by one of all workers, rarely, and never with a password that was replaced."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from storage_backends.errors import BackendUnavailable
from storage_backends.login_guard import TRIAL_S
from worker.backends.login_guard import SharedLoginGuard

ACCOUNT = "filer:443/storage-api"


@pytest.fixture
def workers(redis_client: Redis) -> list[SharedLoginGuard]:
    """Three processes."""
    return [SharedLoginGuard(redis_client, "sapi:") for _ in range(3)]


def _may(guard: SharedLoginGuard, password: str = "old") -> bool:
    try:
        guard.require(ACCOUNT, password)
    except BackendUnavailable:
        return False
    return True


def test_credentials_refused_to_one_worker_are_not_tried_again(workers: list[SharedLoginGuard], redis_client: Redis):
    assert _may(workers[0])
    (trial,) = redis_client.scan_iter("sapi:login:*:trial")
    # A worker that is killed during its trial does not block the others for long.
    assert TRIAL_S * 500 < redis_client.pttl(trial) <= TRIAL_S * 1000
    workers[0].record_refusal(ACCOUNT, "old")

    assert not redis_client.exists(trial)
    assert [_may(guard) for guard in workers] == [False, False, False]


def test_one_worker_tries_and_the_others_wait_for_the_result(workers: list[SharedLoginGuard]):
    first, second, third = workers
    assert _may(first)
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(_may(second)))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()

    first.record_refusal(ACCOUNT, "old")
    waiting.join(10)

    assert answers == [False]
    assert not _may(third)


def test_a_trial_without_a_result_is_left_to_the_next_worker(workers: list[SharedLoginGuard], redis_client: Redis):
    assert _may(workers[0])
    workers[0].record_undecided(ACCOUNT, "old")
    assert list(redis_client.scan_iter("sapi:login:*")) == []


def test_a_login_that_works_is_used_by_all(workers: list[SharedLoginGuard]):
    assert _may(workers[0])
    workers[0].record_acceptance(ACCOUNT, "old")

    assert [_may(guard) for guard in workers] == [True, True, True]


def test_a_replaced_password_is_tried_at_once(workers: list[SharedLoginGuard]):
    assert _may(workers[0])
    workers[0].record_refusal(ACCOUNT, "old")

    assert _may(workers[1], "new")
    workers[1].record_acceptance(ACCOUNT, "new")
    assert _may(workers[2], "new")
    assert not _may(workers[2], "old")


def test_signed_in_workers_respect_a_refusal_elsewhere(
    redis_client: Redis, workers: list[SharedLoginGuard], monkeypatch: pytest.MonkeyPatch
):
    for guard in workers:
        assert _may(guard)
        guard.record_acceptance(ACCOUNT, "old")
    workers[0].record_refusal(ACCOUNT, "old")
    # Once the wait is over, one worker tries it for all.
    assert not list(redis_client.scan_iter("sapi:login:*:accepted"))
    monkeypatch.setattr("worker.backends.login_guard._RECHECK_S", 0.0)

    assert [_may(guard) for guard in workers] == [False, False, False]
    # It does not count as working again until one has tried it.
    monkeypatch.setattr("worker.backends.login_guard._RECHECK_S", 60.0)
    assert [_may(guard) for guard in workers] == [False, False, False]


def test_the_wait_grows_to_minutes(
    redis_client: Redis, workers: list[SharedLoginGuard], monkeypatch: pytest.MonkeyPatch
):
    hours = 0
    clock = time.monotonic
    monkeypatch.setattr("storage_backends.login_guard.time.monotonic", lambda: clock() + hours * 3600)
    waits = []
    for turn in range(6):
        one = workers[turn % len(workers)]
        assert _may(one)
        one.record_refusal(ACCOUNT, "old")
        (key,) = redis_client.keys("sapi:login:*:refused")
        waits.append(round(redis_client.pttl(key) / 1000))
        assert not any(_may(guard) for guard in workers)
        redis_client.delete(key)
        hours += 1

    assert waits == [60, 120, 240, 480, 900, 900]


def test_no_password_is_stored_and_every_key_has_a_ttl(redis_client: Redis, workers: list[SharedLoginGuard]):
    assert _may(workers[0], "s3cr3t-password")
    workers[0].record_refusal(ACCOUNT, "s3cr3t-password")
    workers[0].record_acceptance(ACCOUNT, "another-password")

    keys = [key.decode() for key in redis_client.keys("*")]  # type: ignore[union-attr]
    assert keys
    assert all(redis_client.ttl(key) > 0 for key in keys)
    assert not any("s3cr3t" in key or "storage-api" in key for key in keys)


# --- what processes share


class Clock:
    """The clock of the guard, controlled by the test; each sleep takes six seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr("worker.backends.login_guard.time.monotonic", lambda: self.now_s)
        monkeypatch.setattr("worker.backends.login_guard.time.sleep", self._sleep)

    def _sleep(self, _seconds: float) -> None:
        self.now_s += 6


def test_a_signed_in_worker_checks_once_a_second_and_others_each_time(
    workers: list[SharedLoginGuard], redis_client: Redis, monkeypatch: pytest.MonkeyPatch
):
    clock, (one, other, _) = Clock(monkeypatch), workers
    assert one.shared_wait_s("a", "fp", is_accepted=True) == 0
    # It makes no trial.
    assert redis_client.keys("sapi:login:*") == []
    other.share_refusal("a", "fp", 60)
    clock.now_s += 0.9
    assert one.shared_wait_s("a", "fp", is_accepted=True) == 0
    assert 59 < one.shared_wait_s("a", "fp", is_accepted=False) <= 60
    clock.now_s += 1.1
    assert 59 < one.shared_wait_s("a", "fp", is_accepted=True) <= 60
    assert one.shared_wait_s("b", "fp", is_accepted=False) == 0
    assert one.shared_wait_s("a", "fp2", is_accepted=False) == 0


def test_credentials_accepted_elsewhere_need_no_trial(
    workers: list[SharedLoginGuard], redis_client: Redis, monkeypatch: pytest.MonkeyPatch
):
    clock, (one, other, _) = Clock(monkeypatch), workers
    other.share_refusal("a", "fp", 60)
    refused: Any = redis_client.keys("sapi:login:*:refused")
    redis_client.set(refused[0].replace(b"refused", b"trial"), "1")
    other.share_acceptance("a", "fp")
    keys: Any = redis_client.keys("sapi:login:*")
    (key,) = keys
    assert (key.endswith(b":accepted"), 86_000 < redis_client.ttl(key) <= 86_400) == (True, True)
    assert one.shared_wait_s("a", "fp", is_accepted=False) == 0
    assert redis_client.keys("sapi:login:*") == [key]
    # One that does not end blocks the others for as long as a trial may take.
    redis_client.delete(key)
    assert one.shared_wait_s("a", "fp", is_accepted=False) == 0
    assert other.shared_wait_s("a", "fp", is_accepted=False) == TRIAL_S
    assert clock.now_s == 1012


def test_refusals_at_the_same_moment_count_once(workers: list[SharedLoginGuard], redis_client: Redis):
    for guard in workers:
        guard.share_refusal("a", "fp", 60)
    keys: Any = redis_client.keys("sapi:login:*:failures")
    assert [redis_client.get(key) for key in keys] == [b"1"]


def test_without_redis_each_process_uses_its_own_results():
    away = Redis(port=1, retry=Retry(NoBackoff(), 0))
    guard = SharedLoginGuard(away, "sapi:")
    assert [guard.shared_wait_s("a", "fp", is_accepted=is_accepted) for is_accepted in (True, False)] == [0, 0]
    guard.share_refusal("a", "fp", 60)
    guard.share_acceptance("a", "fp")
    guard.share_undecided("a", "fp")
