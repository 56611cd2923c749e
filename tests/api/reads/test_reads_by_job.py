"""Reads for which a job asks the storage system: what is answered when something else happens meanwhile."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from api.reads import lookup
from api.reads.read_request import resolve_volume_name
from tests.api.reads.service import Service
from worker.jobs.service import Jobs
from worker.listings.listing import Listing
from worker.store.results import SubmitOutcome


def _cached(service: Service) -> None:
    assert service.get().status_code == 202
    assert service.run_all() == 1


@pytest.mark.parametrize("is_cached", [True, False])
def test_a_copy_that_changed_before_the_submission_is_looked_up_again(
    service: Service, monkeypatch: pytest.MonkeyPatch, is_cached: bool
):
    """Another request's read ended between the look at the copy and the submission."""
    submit = Jobs.accept

    def changed_once(jobs: Jobs, new: Any) -> Any:
        monkeypatch.setattr(Jobs, "accept", submit)
        if is_cached:
            _cached(service)
        return SubmitOutcome.CHANGED, "", None

    monkeypatch.setattr(Jobs, "accept", changed_once)
    answer = service.get()
    assert (answer.status_code, len(service.waiting())) == ((200, 0) if is_cached else (202, 1))


def test_a_read_that_ended_before_the_submission_is_not_repeated(service: Service, monkeypatch: pytest.MonkeyPatch):
    look = lookup._cached_copy

    def look_too_early(read_request: Any) -> Any:
        monkeypatch.setattr(lookup, "_cached_copy", look)
        found = look(read_request)
        _cached(service)
        return found

    monkeypatch.setattr(lookup, "_cached_copy", look_too_early)
    answer = service.get()
    assert (answer.status_code, answer.headers["Cache-Status"]) == (200, "storage-api; hit; ttl=60")
    assert not service.waiting()


@pytest.mark.parametrize("path", ["", "/acclog_backup01"])
def test_a_copy_whose_contents_have_expired_is_read_again(service: Service, path: str):
    service.get(f"volumes{path}")
    assert service.run_all() == 1
    bases: Any = service.redis.keys("sapi:base:*")
    assert service.redis.delete(*bases) == 1
    nothing_in_memory = service.another_front_end()
    assert service.get(f"volumes{path}", app=nothing_in_memory).status_code == 202
    assert service.run_all() == 1
    assert service.get(f"volumes{path}", app=nothing_in_memory).status_code == 200


def test_a_read_that_was_cancelled_while_it_was_waited_for(make_service: Any, monkeypatch: pytest.MonkeyPatch):
    service = make_service(api={"read_wait": 20.0})

    def cancel(services: Any, job_id: str, _wait_s: float) -> Any:
        services.redis.hset(f"sapi:job:{job_id}", "state", "cancelled")
        return services.jobs.get(job_id)

    monkeypatch.setattr("api.reads.lookup.wait_for_end", cancel)
    answer = service.get()
    assert (answer.status_code, answer.json["code"]) == (409, "job-cancelled")
    assert answer.headers["Operation-Location"].startswith("/v4/jobs/")


@pytest.mark.parametrize("dropped", ["DEL sapi:listing:dummy/volumes", "HDEL sapi:listing:dummy/volumes base"])
def test_a_result_without_a_copy_is_as_old_as_the_begin_of_its_job(
    make_service: Any, monkeypatch: pytest.MonkeyPatch, dropped: str
):
    service = make_service(api={"read_wait": 20.0})

    def end(services: Any, job_id: str, _wait_s: float) -> Any:
        service.run(job_id)
        services.redis.hincrby(f"sapi:job:{job_id}", "started", -60_000)
        services.redis.execute_command(*dropped.split())
        return services.jobs.get(job_id)

    monkeypatch.setattr("api.reads.lookup.wait_for_end", end)
    answer = service.get()
    assert answer.status_code == 200
    assert 60 <= int(answer.headers["Age"]) < 90
    (base,) = service.redis.keys("sapi:base:dummy/volumes:*")
    assert answer.get_etag() == (base.decode().rpartition(":")[2], False)


def test_a_result_that_expired_before_the_response_may_be_requested_again(
    make_service: Any, monkeypatch: pytest.MonkeyPatch
):
    service = make_service(api={"read_wait": 20.0})

    def end(services: Any, job_id: str, _wait_s: float) -> Any:
        service.run(job_id)
        services.redis.delete(*services.redis.keys("sapi:base:*"))
        return services.jobs.get(job_id)

    monkeypatch.setattr("api.reads.lookup.wait_for_end", end)
    answer = service.get()
    assert (answer.status_code, answer.json["code"]) == (410, "result-expired")
    assert "Ask again" in answer.json["detail"]
    assert answer.headers["Operation-Location"].startswith("/v4/jobs/")


def test_a_path_is_resolved_for_each_request(service: Service, monkeypatch: pytest.MonkeyPatch):
    """It may be another volume by then: no answer is repeated, as those for a volume's name are."""
    _cached(service)
    volume = _first_volume(service)
    service.get(f"volumes/{volume['name']}/snapshots")
    service.run_all()
    look_ups = Mock(side_effect=resolve_volume_name)
    monkeypatch.setattr("api.reads.lookup.resolve_volume_name", look_ups)
    counts = []
    for reference in (volume["name"], f"node:{volume['junction_path']}"):
        look_ups.reset_mock()
        statuses = [service.get(f"volumes/{reference}/snapshots").status_code for _ in range(3)]
        assert statuses == [200] * 3
        counts.append(look_ups.call_count)
    assert counts == [1, 3]


def test_snapshots_by_the_path_of_their_volume_while_the_storage_system_is_unavailable(make_service: Any):
    service = make_service(backend_patience=0)
    _cached(service)
    volume = service.get().json[0]
    snapshots = f"volumes/{volume['name']}/snapshots"
    service.get(snapshots)
    service.run_all()
    for cache_key in ("dummy/volumes", f"dummy/volumes/{volume['name']}/snapshots"):
        service.age(cache_key, 10_000)
    service.away_file.touch()
    with service.running():
        answer = service.get(f"volumes/node:{volume['junction_path']}/snapshots", Prefer="wait=10")
    assert answer.status_code == 200
    assert answer.json == service.get(snapshots).json


def test_an_expired_result_is_served_from_the_present_listing_or_refused(
    service: Service, monkeypatch: pytest.MonkeyPatch
):
    _cached(service)
    keys: Any = service.redis.keys("sapi:job:*")
    job_id = keys[0].decode().rpartition(":")[2]
    assert len(_result(service, job_id).json) > 0
    monkeypatch.setattr(service.services.listing_cache, "get", Mock(return_value=None))
    service.redis.delete(f"sapi:result:{job_id}")
    answer = _result(service, job_id)
    assert (answer.status_code, answer.json["code"]) == (410, "result-expired")
    now = Listing.of("name", [{"name": "now"}], ordered=False)
    monkeypatch.setattr(service.services.listing_cache, "get", Mock(side_effect=[None, now]))
    assert _result(service, job_id).json == [{"name": "now"}]


def _result(service: Service, job_id: str) -> Any:
    return service.app.test_client().get(f"/v4/jobs/{job_id}/result", auth=("admin", "secret"))


def _first_volume(service: Service) -> dict[str, Any]:
    volumes: Any = service.get().json
    assert volumes
    return dict(volumes[0])
