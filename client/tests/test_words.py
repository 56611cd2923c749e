"""Texts of the command line: running jobs, values, and hints after an error."""

from __future__ import annotations

import pickle
from datetime import datetime
from time import tzset
from typing import Any
from unittest.mock import Mock

import pytest

from storage_api_client import errors
from storage_api_client.cli import progress
from storage_api_client.cli.exit_status import ExitStatus
from storage_api_client.cli.failures import explain
from storage_api_client.cli.output import for_people, name_of, value_at, write
from storage_api_client.cli.progress import Bars, Reporter, describe
from storage_api_client.cli.state import State
from storage_api_client.models import JobRecord, Problem
from storage_api_client.models.batches import MemberResult
from storage_api_client.times import format_time, parse_since


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ({"state": "queued"}, "queued"),
        ({"state": "queued", "queue": {"waiting_reason": "behind-jobs"}}, "waiting for other jobs of the same volume"),
        ({"state": "queued", "queue": {"waiting_reason": "no-worker-online"}}, "waiting: no worker is online"),
        ({"state": "running"}, "running"),
        ({"state": "running", "progress": {"message": "listing"}}, "listing"),
        (
            {"state": "running", "children": {"total": 9, "succeeded": 3, "failed": 2, "cancelled": 1}},
            "6 of 9 done, 2 failed",
        ),
        ({"state": "running", "progress": {"message": "a\x07b"}}, "a\N{REPLACEMENT CHARACTER}b"),
        ({"state": "cancelling", "progress": {"message": "listing"}}, "cancelling"),
        ({"state": "failed", "done": True}, "failed"),
    ],
)
def test_each_description_of_a_job(job: dict[str, Any], words: str) -> None:
    assert describe(JobRecord.of(job)) == words


def test_a_line_is_written_when_something_has_changed(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter()
    running = {"id": "1", "operation": "o", "state": "running", "progress": {"current": 2, "total": 9, "unit": "steps"}}
    begun = running | {"progress": {"current": 0, "total": 9}}
    for job in (begun, running, running, running | {"state": "succeeded", "done": True}):
        reporter.show(JobRecord.of(job))
    assert capsys.readouterr().err.splitlines() == [
        "1  o: running (0 of 9)",
        "1  o: running (2 of 9 steps)",
        "1  o: succeeded",
    ]


@pytest.mark.parametrize(
    ("job", "total", "completed"),
    [
        ({"state": "running"}, None, 0),
        ({"state": "running", "progress": {"percent": 40}}, 100, 40),
        ({"state": "running", "progress": {"percent": 0}}, 100, 0),
        ({"state": "failed", "done": True, "progress": {"percent": 40}}, 100, 100),
        ({"state": "succeeded", "done": True}, 100, 100),
    ],
)
def test_the_length_of_a_bar_is_the_progress_of_the_job(
    job: dict[str, Any], total: int | None, completed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = Mock()
    monkeypatch.setattr(progress, "_bars", Mock(return_value=drawn))
    bars = Bars()
    for id_ in ("1", "2", "1"):
        bars.show(JobRecord.of({"id": id_, "operation": "create_lock"} | job))
    bars.close()
    assert (drawn.start.call_count, drawn.add_task.call_count, drawn.stop.call_count) == (1, 2, 1)
    assert [(each["total"], each["completed"]) for _, each in drawn.update.call_args_list] == [(total, completed)] * 3


def test_messages_are_written_above_the_bars_which_are_removed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, state = Mock(), State()
    monkeypatch.setattr(progress, "_bars", Mock(return_value=drawn))
    monkeypatch.setattr("sys.stderr", Mock(isatty=Mock(return_value=True)))
    with pytest.raises(KeyboardInterrupt), progress.reporting(state) as reporter:
        reporter.show(JobRecord.of({"id": "1", "operation": "create_lock", "state": "running"}))
        state.note("[a] text")
        raise KeyboardInterrupt
    drawn.console.print.assert_called_once_with("[a] text", markup=False, highlight=False)
    assert "create lock: running" in drawn.update.call_args.kwargs["description"]
    drawn.stop.assert_called_once_with()


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("size_total", 2**30, "1.00 GiB"), ("size_kbytes", 1024, "1.00 MiB"), ("position", 1024, "1024"),
        ("autosize_enabled", True, "yes"), ("autosize_enabled", False, "no"), ("rules", ["a", "b"], "a, b"),
        ("queue", {"name": "q", "position": 0, "reason": None}, "name: q; position: 0"), ("comment", None, ""),
        ("name", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("comment", "a\x1b[2Jb\x9b1mc\r\nd\te\u2028f \N{NO-BREAK SPACE}\N{PILE OF POO}",
         "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}1mc  d e f \N{NO-BREAK SPACE}\N{PILE OF POO}"),
    ],
)  # fmt: skip
def test_values_are_formatted(name: str, value: Any, text: str) -> None:
    assert for_people(name, value) == text


def test_records_are_written_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [{"name": "a", "on": True, "rules": ["c"], "none": None}, {"name": "b", "more": "x,y"}]
    for form, expected in (
        ("name", "a\nb\n"),
        ("csv", 'name,on,rules,none,more\na,true,"[""c""]",,\nb,,,,"x,y"\n'),
        ("json", '[{"name": "a", "on": true, "rules": ["c"], "none": null}, {"name": "b", "more": "x,y"}]\n'),
    ):
        write(rows, ("name",), form)
        assert capsys.readouterr().out == expected
    write(rows[:1], ("name",), "json", single=True)
    assert capsys.readouterr().out.startswith('{"name": "a"')
    write(rows[:1], ("name",), "table", single=True)
    assert capsys.readouterr().out == "name   a\non     yes\nrules  c\nnone\n"
    assert value_at({"error": {"code": "x"}}, "error.code") == "x"
    assert (value_at({"error": None}, "error.code"), name_of({"host": "h"}), name_of("r")) == (None, "h", "r")


_JOB = JobRecord(id="7")
_RETRYABLE = Problem(title="T", status=503, code="backend-unavailable", detail="Away.", retryable=True)


def test_times_are_in_the_local_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "JST-9")
    tzset()
    try:
        assert for_people("created_at", "2026-01-01T20:00:00.5Z") == "2026-01-02 05:00:00"
        assert format_time(datetime(2026, 1, 2, 5)) == "2026-01-01T20:00:00Z"  # noqa: DTZ001 - local
        assert parse_since("2026-01-02T00:00") == "2026-01-02T00:00:00Z"
    finally:
        monkeypatch.undo()
        tzset()


@pytest.mark.parametrize(
    ("error", "status", "hint"),
    [
        (errors.OutcomeUnknown(_RETRYABLE, idempotency_key="k"), ExitStatus.UNKNOWN, "--idempotency-key k"),
        (errors.OutcomeUnknown(_RETRYABLE, _JOB), ExitStatus.UNKNOWN, "storage-api job show 7"),
        (errors.OutcomeUnknown(_RETRYABLE), ExitStatus.UNKNOWN, "storage-api job list"),
        (errors.StillRunning(_RETRYABLE, _JOB), ExitStatus.STILL_RUNNING, "storage-api job wait 7"),
        (errors.NotAuthorised(Problem(code="unauthenticated")), ExitStatus.NOT_AUTHORISED, "storage-api login"),
        (errors.NotAuthorised(Problem(code="missing-role")), ExitStatus.NOT_AUTHORISED, None),
        (errors.Unavailable(_RETRYABLE, _JOB), ExitStatus.UNAVAILABLE, "go on waiting: storage-api job wait 7"),
        (errors.Unavailable(_RETRYABLE), ExitStatus.UNAVAILABLE, "Try again later."),
        (errors.JobFailed(_RETRYABLE, JobRecord(id="7", done=True)), ExitStatus.UNAVAILABLE, "storage-api job retry 7"),
        (errors.Refused(Problem(code="already-exists", detail="It is there.")), ExitStatus.FAILED, None),
    ],
)
def test_each_hint_after_an_error(
    error: errors.StorageApiError, status: ExitStatus, hint: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(error) is status
    _, *more = capsys.readouterr().err.splitlines()
    assert [hint in line for line in more] == [True] if hint else more == []


def test_every_detail_of_an_error_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem.of(
        {
            "detail": "Not so\x1b[2J.", "request_id": "r", "errors": [{"pointer": "/a\x1b", "detail": "is\nwrong"}],
            "backend_error": {"code": "4711", "message": "no\x1b[2J"},
        }
    )  # fmt: skip
    failed = MemberResult.of({"job": "8", "problem": {"detail": "Taken.\n"}})
    error = errors.BatchFailed(problem, None, (MemberResult.of({"job": "7"}), failed))
    assert explain(error) is ExitStatus.FAILED
    assert capsys.readouterr().err.splitlines() == [
        "storage-api: Not so\N{REPLACEMENT CHARACTER}[2J. (request id r)",
        "  /a\N{REPLACEMENT CHARACTER}: is wrong",
        "  the storage system says: code: 4711; message: no\N{REPLACEMENT CHARACTER}[2J",
        "  1: Taken.  (job 8)",
    ]


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFound(Problem(detail="there is none", code="no-such-volume", request_id="r")),
        errors.BatchFailed(Problem(detail="one did not"), JobRecord(id="7"), [MemberResult(job="8", status=404)]),
        errors.OutcomeUnknown(Problem(detail="look"), None, "key"),
    ],
)
def test_exceptions_can_be_pickled(error: errors.StorageApiError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
