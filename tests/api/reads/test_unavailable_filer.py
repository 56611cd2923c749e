"""What is read while the storage system is unavailable."""

from __future__ import annotations

from contextlib import nullcontext
from unittest.mock import Mock

import pytest

from tests.api.reads.cached_listing import listed
from worker.execution.claims import Completion
from worker.jobs.failure import Failure
from worker.jobs.notifications import JobNotifications
from worker.jobs.record import State


def away(service):
    service.away_file.touch()


def test_the_old_copy_is_served_at_once(make_service, monkeypatch):
    service = make_service(api={"read_wait": 20.0})
    monkeypatch.setattr("api.reads.lookup.wait_for_end", Mock(return_value=None))
    waits = Mock(return_value=None)
    monkeypatch.setattr("api.reads.lookup.wait_for", waits)
    listed(service)
    service.age("dummy/volumes", 10_000)
    away(service)
    assert service.get().status_code == 202
    service.run_all()
    assert waits.call_count == 1
    # From now on it is known, and no request waits for the job.
    answer = service.get()
    assert (answer.status_code, answer.headers["Cache-Status"]) == (200, "storage-api; hit; ttl=-9940")
    assert "Operation-Location" in answer.headers
    assert waits.call_count == 1


def test_a_request_that_waits_gets_the_old_copy_when_the_job_fails(make_service):
    service = make_service(api={"read_wait": 20.0})
    with service.running():
        assert service.get().status_code == 200
        service.age("dummy/volumes", 10_000)
        away(service)
        assert service.get().status_code == 200


def test_after_the_keep_time_no_copy_is_served(service):
    listed(service)
    service.age("dummy/volumes", 86_500)
    away(service)
    for path in ("volumes", "volumes/acclog_backup01"):
        service.get(path)
        service.run_all()
        assert service.get(path).status_code == 202


@pytest.mark.parametrize("path", ["volumes", "volumes/acclog_backup01"])
def test_no_cache_is_not_served_from_the_old_copy(make_service, path):
    service = make_service(backend_patience=0)
    listed(service)
    away(service)
    with service.running():
        answer = service.get(path, Cache_Control="no-cache", Prefer="wait=10")
    assert (answer.status_code, answer.json["code"]) == (503, "backend-unavailable")
    assert answer.headers["Preference-Applied"] == "wait=10"


def test_an_invalidated_copy_is_not_served(make_service):
    service = make_service(backend_patience=0)
    listed(service)
    service.redis.hset("sapi:listing:dummy/volumes", "invalid", 1)
    away(service)
    with service.running():
        assert service.get(Prefer="wait=10").status_code == 503


def test_without_a_copy_the_request_waits_for_the_job(make_service):
    service = make_service(backend_patience=0)
    away(service)
    with service.running():
        assert [service.get(Prefer="wait=10").status_code for _ in range(2)] == [503, 503]


def test_a_listing_is_used_for_its_own_objects_only(make_service):
    service = make_service(backend_patience=0)
    listed(service)
    service.age("dummy/volumes", 10_000)
    away(service)
    with service.running():
        assert service.get("volumes/acclog_backup01/snapshots", Prefer="wait=10").status_code == 503
        assert service.get("volumes/acclog_backup01", Prefer="wait=10").status_code == 200
        assert service.redis.delete(*service.redis.keys("sapi:base:dummy/volumes:*")) == 1
        nothing_in_memory = service.another_front_end()
        paths = ("volumes/acclog_backup01", "volumes")
        answers = [service.get(path, app=nothing_in_memory, Prefer="wait=10") for path in paths]
    # Where a copy is to be served at once no request waits for the end of the job.
    assert [answer.status_code for answer in answers] == [503, 202]


def test_a_volume_is_served_from_the_old_listing(make_service):
    service = make_service(backend_patience=0)
    listed(service)
    service.age("dummy/volumes", 10_000)
    away(service)
    path = service.get(Cache_Control="max-stale").json[0]["junction_path"]
    with service.running():
        resolve_volume_name = service.get("volumes/acclog_backup01", Prefer="wait=10")
        by_path = service.get(f"volumes/node:{path}", Prefer="wait=10")
        nothing = service.get("volumes/nothing", Prefer="wait=10")
    assert (resolve_volume_name.status_code, by_path.status_code) == (200, 200)
    assert resolve_volume_name.json == by_path.json
    assert nothing.status_code == 503


@pytest.mark.parametrize(
    ("code", "statuses"),
    [("backend-unavailable", [200, 503]), ("backend-timeout", [200, 504]), ("backend-error", [502, 502])],
)
def test_every_kind_of_unavailability_serves_the_old_copy(make_service, monkeypatch, code, statuses):
    """What the storage system itself says is not."""
    service = make_service(api={"read_wait": 20.0})
    service.get(Prefer="respond-async")
    service.run_all()
    service.age("dummy/volumes", 10_000)
    failure = Failure(code, "It is away.")
    runner = service.worker.runner
    monkeypatch.setattr(
        runner._executor, "execute", lambda lease: runner._claims.complete(lease, Completion(State.FAILED, failure))
    )
    with service.running():
        answers = [service.get(), service.get(Cache_Control="no-cache")]
    assert [answer.status_code for answer in answers] == statuses
    assert all(answer.headers["Operation-Location"].startswith("/v4/jobs/") for answer in answers)


def test_a_request_with_an_old_copy_is_notified_of_each_change_of_the_job(service, monkeypatch):
    """That the storage system cannot be reached is no end of the job."""
    service.get()
    service.run_all()
    service.age("dummy/volumes", 5000)
    watch = Mock(return_value=nullcontext())
    monkeypatch.setattr(JobNotifications, "watch", watch)
    assert service.get(Prefer="wait=5").status_code == 202
    assert [call.kwargs for call in watch.call_args_list] == [{"end": False, "has_slot": False}]


def test_a_request_with_an_old_copy_waits_until_the_end_of_the_job(service, monkeypatch):
    service.get()
    service.run_all()
    service.age("dummy/volumes", 5000)
    watched = Mock()
    watched.wait.side_effect = lambda _seconds: service.run_all()
    monkeypatch.setattr(JobNotifications, "watch", Mock(return_value=nullcontext(watched)))
    answer = service.get(Prefer="wait=5")
    assert (answer.status_code, answer.headers["Age"], watched.wait.call_count) == (200, "0", 1)
