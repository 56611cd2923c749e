"""How old an answer may be, and what is said of it."""

from __future__ import annotations

import re
import threading
from email.utils import formatdate
from typing import Any
from unittest.mock import Mock

import pytest

from worker.execution.claims import Completion
from worker.jobs.failure import Failure
from worker.jobs.record import State
from worker.jobs.service import Jobs, NewJob
from worker.store.results import SubmitOutcome

STATUS = re.compile(r"storage-api; (hit; ttl=-?\d+|fwd=(miss|stale|request)(; collapsed)?)")


def listed(service):
    """Have the volumes listed."""
    assert service.get().status_code == 202
    assert service.run_all() == 1


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


def test_a_read_waits_as_long_as_is_set_unless_it_says_otherwise(make_service, monkeypatch):
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
def test_a_refresh_that_is_not_made_is_not_named(service, monkeypatch, outcome):
    listed(service)
    service.age("dummy/volumes", 100)
    monkeypatch.setattr(Jobs, "accept", lambda _self, _new: (outcome, "of no job", None))
    answer = service.get()
    assert (answer.status_code, "Operation-Location" in answer.headers) == (200, False)


@pytest.mark.parametrize(
    ("directive", "refresh", "may_join", "has_seen"),
    [("max-stale", True, True, True), ("max-age=1", False, True, True), ("no-cache", False, False, False)],
)
def test_what_a_read_asks_for(service, monkeypatch, directive, refresh, may_join, has_seen):
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


def test_beyond_stale_the_filer_is_asked(service):
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
def test_directives(service, age, directive, is_hit):
    listed(service)
    service.age("dummy/volumes", age)
    answer = service.get(Cache_Control=directive) if directive else service.get()
    assert answer.status_code == (200 if is_hit else 202)
    assert STATUS.fullmatch(answer.headers["Cache-Status"])


def test_pragma_counts_where_cache_control_is_missing(service):
    listed(service)
    assert service.get(Pragma="no-cache").status_code == 202
    assert service.get(Pragma="no-cache", Cache_Control="max-stale").status_code == 200


def test_only_if_cached_asks_nobody(service):
    answer = service.get(Cache_Control="only-if-cached")
    assert (answer.status_code, answer.json["code"]) == (504, "not-cached")
    listed(service)
    service.age("dummy/volumes", 100)
    assert "Operation-Location" not in service.get(Cache_Control="only-if-cached").headers
    assert service.get(Cache_Control="only-if-cached, max-age=5").status_code == 504
    assert not service.waiting()


def test_no_cache_joins_only_what_has_not_begun(service):
    waiting = service.get(Cache_Control="no-cache").json["id"]
    joined = service.get(Cache_Control="no-cache")
    assert (joined.json["id"], joined.headers["Cache-Status"]) == (waiting, "storage-api; fwd=miss; collapsed")
    service.redis.hset(f"sapi:job:{waiting}", "state", "running")
    assert service.get(Cache_Control="max-age=1").json["id"] == waiting
    assert service.get(Cache_Control="no-cache").json["id"] != waiting


@pytest.mark.parametrize(
    ("age_s", "directive", "reason"),
    [(10, "max-age=5", "request"), (10, "min-fresh=55", "request"), (100, "max-age=5", "stale")],
)
def test_it_is_said_whether_the_client_or_the_age_is_the_reason(service, age_s, directive, reason):
    listed(service)
    service.age("dummy/volumes", age_s)
    answer = service.get(Cache_Control=directive)
    assert (answer.status_code, answer.headers["Cache-Status"]) == (202, f"storage-api; fwd={reason}")


def test_no_cache_is_answered_by_a_listing_that_began_after_it(service):
    listed(service)
    answer = service.get(Cache_Control="no-cache")
    assert (answer.status_code, answer.headers["Cache-Status"]) == (202, "storage-api; fwd=request")


def test_a_thousand_clients_make_one_job(make_service):
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


def test_a_leader_that_died_holds_nobody_up(service):
    dead = service.get().json["id"]
    service.redis.delete(f"sapi:job:{dead}")
    assert service.get().json["id"] != dead


def test_cache_fresh_of_nothing(make_service):
    service = make_service(cache_fresh=0, cache_stale=0)
    listed(service)
    service.age("dummy/volumes", 1)
    assert service.get().status_code == 202
    assert service.get(Cache_Control="max-stale").headers["Cache-Status"].startswith("storage-api; hit; ttl=-1")


# --- the filer is away


def away(service):
    service.away_file.touch()


def test_away_the_old_copy_is_served_at_once(make_service, monkeypatch):
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
    # From now on it is known, and nobody waits for the job.
    answer = service.get()
    assert (answer.status_code, answer.headers["Cache-Status"]) == (200, "storage-api; hit; ttl=-9940")
    assert "Operation-Location" in answer.headers
    assert waits.call_count == 1


def test_away_one_who_waits_learns_it_from_the_job(make_service):
    service = make_service(api={"read_wait": 20.0})
    with service.running():
        assert service.get().status_code == 200
        service.age("dummy/volumes", 10_000)
        away(service)
        assert service.get().status_code == 200


def test_away_beyond_keep_there_is_nothing(service):
    listed(service)
    service.age("dummy/volumes", 86_500)
    away(service)
    service.get()
    service.run_all()
    assert service.get().status_code == 202


def test_away_no_cache_is_not_answered_from_the_old_copy(make_service):
    service = make_service(backend_patience=0)
    listed(service)
    away(service)
    with service.running():
        answer = service.get(Cache_Control="no-cache", Prefer="wait=10")
    assert (answer.status_code, answer.json["code"]) == (503, "backend-unavailable")


def test_away_a_volume_is_found_in_the_old_listing(make_service):
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


@pytest.mark.parametrize("code", ["backend-unavailable", "backend-timeout"])
def test_away_every_kind_of_it_is_answered_with_the_old_copy(make_service, monkeypatch, code):
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
    assert [answer.status_code for answer in answers] == [200, 503 if code == "backend-unavailable" else 504]
    assert all(answer.headers["Operation-Location"].startswith("/v4/jobs/") for answer in answers)


# --- validators


def test_etags(service):
    listed(service)
    plain = service.get(Accept_Encoding="identity")
    packed = service.get(Accept_Encoding="gzip")
    assert plain.headers["ETag"] != packed.headers["ETag"]
    assert packed.headers["Content-Encoding"] == "gzip"
    # The same bytes from every process, without the time: they have the same entity tag.
    assert packed.data[4:8] == bytes(4)
    for tag in (
        plain.headers["ETag"],
        packed.headers["ETag"],
        f"W/{plain.headers['ETag']}",
        # As a proxy that compresses writes it.
        f'{plain.headers["ETag"][:-1]};gzip"',
        '"x", ' + packed.headers["ETag"],
        "*",
    ):
        again = service.get(If_None_Match=tag, Accept_Encoding="gzip")
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["ETag"] == packed.headers["ETag"]
        assert {"Age", "Cache-Control", "Cache-Status", "Vary"} <= set(again.headers.keys())
    assert service.get(If_None_Match='"x"').status_code == 200
    assert service.get("volumes?limit=3", If_None_Match=plain.headers["ETag"]).status_code == 200


def test_if_modified_since(service):
    listed(service)
    service.age("dummy/volumes", 30)
    shown = service.get()
    since = shown.headers["Last-Modified"]
    as_of_ms: Any = service.redis.hget("sapi:listing:dummy/volumes", "as_of")
    assert since == formatdate(int(as_of_ms) / 1000, usegmt=True)
    assert service.get(If_Modified_Since=since).status_code == 304
    for headers in (
        {"If_Modified_Since": "Thu, 01 Jan 2026 00:00:00 GMT"},
        {"If_Modified_Since": "nonsense"},
        {"If_Modified_Since": since, "If_None_Match": '"x"'},
    ):
        assert service.get(**headers).status_code == 200, headers
    # A change does not alter the time at which the filer was asked.
    service.change("POST", "volumes/new", {"size_total": 2**30})
    assert service.get(If_Modified_Since=since).status_code == 200


def test_copies_are_told_apart_by_coding_and_sender(service):
    listed(service)
    for headers in ({}, {"If_None_Match": "*"}):
        assert service.get(**headers).headers["Vary"] == "Accept-Encoding, Authorization, Cookie"


def test_an_equal_refresh_keeps_the_etag_and_a_change_does_not(service):
    listed(service)
    tag = service.get().headers["ETag"]
    service.run(service.get(Cache_Control="no-cache").json["id"])
    assert service.get().headers["ETag"] == tag
    service.change("PATCH", "volumes/acclog_backup01", {"autosize_enabled": False, "percentage_snapshot_reserve": 7})
    assert service.get().headers["ETag"] != tag
    assert service.get(If_None_Match=tag).status_code == 200


def test_head_is_get_without_a_body(service):
    listed(service)
    got = service.get()
    head = service.app.test_client().head("/v4/dummy/volumes", auth=("admin", "secret"))
    assert head.data == b""
    for name in ("ETag", "X-Total-Count", "Content-Length", "Content-Type"):
        assert head.headers[name] == got.headers[name]
