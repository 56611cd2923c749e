"""How old an answer may be, and what is said of it."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

from tests.api.reads.cached_listing import listed
from worker.jobs.service import Jobs, NewJob
from worker.store.results import SubmitOutcome

STATUS = re.compile(r"storage-api; (hit; ttl=-?\d+|fwd=(miss|stale|request)(; collapsed)?)")


def test_a_cold_listing_is_a_job_and_then_a_hit(service):
    cold = service.get()
    assert (cold.status_code, cold.headers["Cache-Status"]) == (202, "storage-api; fwd=miss")
    assert cold.headers["Location"] == cold.headers["Operation-Location"] == f"/v4/jobs/{cold.json['id']}"
    service.run_all()
    hit = service.get()
    assert hit.status_code == 200
    assert hit.headers["Cache-Status"] == "storage-api; hit; ttl=60"
    assert hit.headers["Age"] == "0"
    assert hit.headers["Cache-Control"] == "private, max-age=60, stale-while-revalidate=3600"
    assert hit.last_modified is not None
    assert "Operation-Location" not in hit.headers
    assert not service.waiting()


def test_a_read_that_waits_is_answered_by_its_job(service):
    with service.running():
        answer = service.get(Prefer="wait=10")
    assert (answer.status_code, len(answer.json)) == (200, 12)
    assert answer.headers["Cache-Status"] == "storage-api; fwd=miss"
    assert answer.headers["Operation-Location"].startswith("/v4/jobs/")
    assert answer.headers["Preference-Applied"] == "wait=10"


def test_a_read_that_does_not_wait_says_so(service):
    assert service.get(Prefer="respond-async").headers["Preference-Applied"] == "respond-async"
    assert "Preference-Applied" not in service.get(Prefer="wait=0").headers


def test_a_read_waits_for_the_configured_time_by_default(make_service, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr("api.reads.lookup.wait_for_end", lambda _services, _job_id, seconds: waits.append(seconds))
    service = make_service(api={"read_wait": 7.0})
    for preference in ("", "respond-async", "wait=3", "wait=3, respond-async", "wait=0"):
        assert service.get(Prefer=preference).status_code == 202
    assert waits == [7.0, 3.0, 3.0]


def test_a_stale_copy_is_served_while_one_refresh_runs(service):
    listed(service)
    service.age("dummy/volumes", 100)
    first, second = service.get(), service.get()
    assert first.status_code == second.status_code == 200
    assert first.headers["Cache-Status"] == "storage-api; hit; ttl=-40"
    assert first.headers["Age"] == "100"
    assert first.headers["Operation-Location"] == second.headers["Operation-Location"]
    assert service.run_all() == 1
    assert service.get().headers["Age"] == "0"


@pytest.mark.parametrize("outcome", [SubmitOutcome.FULL, SubmitOutcome.CHANGED])
def test_without_a_refresh_job_no_operation_location_is_sent(service, monkeypatch, outcome):
    listed(service)
    service.age("dummy/volumes", 100)
    monkeypatch.setattr(Jobs, "accept", lambda _self, _new: (outcome, "of no job", None))
    answer = service.get()
    assert (answer.status_code, "Operation-Location" in answer.headers) == (200, False)


@pytest.mark.parametrize(
    ("directive", "refresh", "may_join", "has_seen"),
    [("max-stale", True, True, True), ("max-age=1", False, True, True), ("no-cache", False, False, False)],
)
def test_each_directive_submits_the_right_read(service, monkeypatch, directive, refresh, may_join, has_seen):
    """Whether it may join a read under way, and whether a listing that came meanwhile is good enough for it."""
    listed(service)
    service.age("dummy/volumes", 100)
    seen_ms = int(service.redis.hget("sapi:listing:dummy/volumes", "as_of"))
    asked, accept = [], Jobs.accept

    def note(self: Jobs, new: NewJob) -> Any:
        asked.append(new)
        return accept(self, new)

    monkeypatch.setattr(Jobs, "accept", note)
    service.get("volumes?fields=name", Cache_Control=directive)
    (new,) = asked
    assert (new.refresh, new.may_join_running, new.seen_ms) == (refresh, may_join, seen_ms if has_seen else None)
    assert (new.target, new.query, new.requester) == ("/v4/dummy/volumes", "fields=name", "admin")


def test_beyond_the_stale_time_a_read_job_is_submitted(service):
    listed(service)
    service.age("dummy/volumes", 3700)
    answer = service.get()
    assert (answer.status_code, answer.headers["Cache-Status"]) == (202, "storage-api; fwd=stale")
    assert service.get(Cache_Control="max-stale=4000").status_code == 200
    assert service.get(Cache_Control="max-stale=3000").status_code == 202
    assert service.get(Cache_Control="max-stale").status_code == 200


@pytest.mark.parametrize(
    ("age", "directive", "is_hit"),
    [
        (30, "", True),
        (30, "max-age=31", True),
        (30, "max-age=29", False),
        (30, "max-age=29, max-stale=5", True),
        (30, "max-age=10, max-stale=5", False),
        (30, "max-age=0", False),
        (30, "no-cache", False),
        (30, "no-store", True),
        (30, "max-age=nonsense", False),
        (30, "min-fresh=20", True),
        (30, "min-fresh=40", False),
        (90, "max-age=100", True),
        (90, "max-stale=20", False),
        (90, "max-stale=40", True),
        (90, "only-if-cached", True),
        (3630, "", True),
        (86500, "max-stale", False),
    ],
)
def test_each_cache_control_directive(service, age, directive, is_hit):
    listed(service)
    service.age("dummy/volumes", age)
    answer = service.get(Cache_Control=directive) if directive else service.get()
    assert answer.status_code == (200 if is_hit else 202)
    assert STATUS.fullmatch(answer.headers["Cache-Status"])


def test_pragma_counts_where_cache_control_is_missing(service):
    listed(service)
    assert service.get(Pragma="no-cache").status_code == 202
    assert service.get(Pragma="no-cache", Cache_Control="max-stale").status_code == 200


def test_only_if_cached_submits_no_job(service):
    answer = service.get(Cache_Control="only-if-cached")
    assert (answer.status_code, answer.json["code"]) == (504, "not-cached")
    listed(service)
    service.age("dummy/volumes", 100)
    assert "Operation-Location" not in service.get(Cache_Control="only-if-cached").headers
    assert service.get(Cache_Control="only-if-cached, max-age=5").status_code == 504
    assert not service.waiting()


def test_no_cache_joins_only_reads_that_have_not_begun(service):
    waiting = service.get(Cache_Control="no-cache").json["id"]
    joined = service.get(Cache_Control="no-cache")
    assert (joined.json["id"], joined.headers["Cache-Status"]) == (waiting, "storage-api; fwd=miss; collapsed")
    service.redis.hset(f"sapi:job:{waiting}", "state", "running")
    assert service.get(Cache_Control="max-age=1").json["id"] == waiting
    assert service.get(Cache_Control="no-cache").json["id"] != waiting


@pytest.mark.parametrize(
    ("age_s", "directive", "reason"),
    [
        (10, "max-age=5", "request"),
        (10, "min-fresh=55", "request"),
        (100, "no-cache", "request"),
        (100, "max-age=5", "stale"),
    ],
)
def test_cache_status_tells_whether_the_request_or_the_age_is_the_reason(service, age_s, directive, reason):
    listed(service)
    service.age("dummy/volumes", age_s)
    answer = service.get(Cache_Control=directive)
    assert (answer.status_code, answer.headers["Cache-Status"]) == (202, f"storage-api; fwd={reason}")


def test_no_cache_is_answered_by_a_listing_that_began_after_it(service):
    listed(service)
    answer = service.get(Cache_Control="no-cache")
    assert (answer.status_code, answer.headers["Cache-Status"]) == (202, "storage-api; fwd=request")


def test_many_requests_submit_one_job(make_service):
    service = make_service(api={"read_wait": 20.0})
    answers = []

    def ask() -> None:
        answers.append(service.get())

    clients = [threading.Thread(target=ask) for _ in range(100)]
    for client in clients:
        client.start()
    with service.running():
        for client in clients:
            client.join()
    for _ in range(900):
        ask()
    assert {answer.status_code for answer in answers} == {200}
    assert int(service.redis.get("sapi:seq")) == 1
    assert sum("collapsed" in answer.headers["Cache-Status"] for answer in answers) <= 99


def test_a_read_without_a_record_is_not_joined(service):
    job_id = service.get().json["id"]
    service.redis.delete(f"sapi:job:{job_id}")
    assert service.get().json["id"] != job_id


def test_a_fresh_time_of_0(make_service):
    service = make_service(cache_fresh=0, cache_stale=0)
    listed(service)
    service.age("dummy/volumes", 1)
    assert service.get().status_code == 202
    assert service.get(Cache_Control="max-stale").headers["Cache-Status"].startswith("storage-api; hit; ttl=-1")
