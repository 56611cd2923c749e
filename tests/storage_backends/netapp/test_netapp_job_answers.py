"""How ONTAP's job is followed by what the filer answers of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from storage_backends.errors import BackendUnavailable, OutcomeUnclear, StorageError
from storage_backends.journal import InMemoryJournal
from storage_backends.netapp.ontap import jobs
from storage_backends.netapp.ontap.error_codes import Translator


class _Answers:
    """A filer that answers reads with these, in turn."""

    vserver, without = "vs1", frozenset[str]()
    translator = Translator(())

    def __init__(self, *answers: Any, refusal: StorageError | None = None) -> None:
        self.answers, self.refusal = list(answers), refusal
        self.changes: list[tuple[Any, ...]] = []

    def get(self, *args: Any, **options: Any) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def change(self, *request: Any, journal: InMemoryJournal) -> None:
        self.changes.append(request)
        if self.refusal is not None:
            raise self.refusal


class _Clock(InMemoryJournal):
    """Each wait takes 40 s."""

    now_s = 0.0

    def wait(self, seconds: float) -> None:
        self.now_s += 40.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(jobs, "time", SimpleNamespace(monotonic=lambda: clock.now_s))
    return clock


@pytest.mark.parametrize("state", ["queued", "running", "paused", "pausing", "quitting", "cancelling", "waiting", None])
def test_a_job_that_has_not_ended_is_followed(state: str | None, clock: _Clock) -> None:
    filer: Any = _Answers({"state": state} if state else {}, {"state": "success"})
    assert jobs.JobFollower(filer, "1", clock).follow().end is jobs.OntapJobState.SUCCESS


@pytest.mark.parametrize(
    ("cause", "code", "message"),
    [
        ({"code": 4711, "message": "No."}, "4711", "No."),
        ({"error": {"code": "4711", "message": "No."}}, "4711", "No."),
        ({"error": {"code": "4711"}, "code": 0, "message": "No."}, "4711", "No."),
        ({"error": {"message": "No."}, "code": 4711, "message": "failure"}, "4711", "No."),
        ({"error": "4711", "code": "\u00b2"}, "unknown", "The storage system's job failed."),
    ],
)
def test_the_failure_of_a_job_is_read_in_the_form_of_each_release(
    cause: dict[str, Any], code: str, message: str, clock: _Clock
) -> None:
    filer: Any = _Answers({"state": "failure"} | cause)
    error = jobs.JobFollower(filer, "1", clock).follow().error
    assert error is not None
    assert error.backend_error is not None
    assert (error.backend_error.code, error.backend_error.message) == (code, message)


class _Cancelled(_Clock):
    cancel_requested = True


@pytest.mark.parametrize("refusal", [None, StorageError("no")])
def test_a_job_is_cancelled_once(refusal: StorageError | None) -> None:
    running = {"state": "running"}
    filer: Any = _Answers(running, running, running, {"state": "failure"}, refusal=refusal)

    ended = jobs.JobFollower(filer, "1", _Cancelled(), cancellable=True).follow()

    assert filer.changes == [("PATCH", "/cluster/jobs/1", {"action": "cancel"}, {})]
    assert ended.cancel_requested is (refusal is None)


def test_a_filer_may_be_away_for_a_while_again_and_again(clock: _Clock) -> None:
    away, running = BackendUnavailable("away"), {"state": "running"}
    filer: Any = _Answers(away, away, running, away, away, running, away, {"state": "success"})
    assert jobs.JobFollower(filer, "1", clock).follow().end is jobs.OntapJobState.SUCCESS
    filer = _Answers(away, away, away, {"state": "success"})
    with pytest.raises(OutcomeUnclear):
        jobs.JobFollower(filer, "1", clock).follow()
    assert filer.answers == [{"state": "success"}]


def test_jobs_that_a_request_may_have_started() -> None:
    url = "PATCH /api/storage/volumes/u"
    listed: list[dict[str, Any]] = [
        {"uuid": "1", "description": url, "state": "running", "svm": {"name": "vs1"}},
        {"uuid": "2", "description": f"{url}?return_timeout=0", "state": "paused"},
        {"uuid": "3", "description": f"{url}/new", "state": "queued", "svm": {"name": "vs1"}},
        {"uuid": "4", "description": url},
        {"uuid": "5", "description": f"{url}?name=a/b", "state": "running"},
        {"uuid": "ended", "description": url, "state": "success"},
        {"uuid": "another vserver", "description": url, "state": "running", "svm": {"name": "vs2"}},
        {"uuid": "another object", "description": f"{url}/snapshots/s", "state": "running"},
        {"uuid": "mentions it", "description": f"As {url}", "state": "running"},
        {"description": url, "state": "running"},
    ]
    odd: list[Any] = [None, url, 5, ["uuid"], {}]
    filer: Any = _Answers({"records": [*odd, *listed]}, {"records": listed})
    assert jobs.unfinished_jobs(filer, url, journal=InMemoryJournal()) == ["1", "2", "3", "4", "5"]
    assert jobs.job_uuids(filer, url, journal=InMemoryJournal()) == ["1", "2", "3", "4", "5", "ended"]
