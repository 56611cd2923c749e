"""Commands of jobs and batches: how to go on after a retry, and which exit status they have."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from typing import Any
from unittest.mock import ANY, Mock

import click
import pytest

from offline import Offline, call, stop
from storage_api_client.cli.commands import jobs
from storage_api_client.cli.exit_status import ExitStatus, status_of
from storage_api_client.cli.options import NotEmpty
from storage_api_client.cli.program import _interrupted, command_line
from storage_api_client.cli.state import Stop
from storage_api_client.errors import BatchFailed, NotFound, OutcomeUnknown, Unavailable
from storage_api_client.models import JobRecord, Problem
from storage_api_client.models.batches import MemberResult
from storage_api_client.operations.jobs import JobFilter

_CANCEL = jobs.cancel


def test_accepted_jobs_are_printed_although_another_failed(capsys: Any) -> None:
    answers = [JobRecord(id="8", raw={"id": "8"}), NotFound(Problem(code="no-such-job", status=404))]
    assert stop(Mock(**{"jobs.retry.side_effect": answers}), "job", "retry", "1", "2") is ExitStatus.NOT_FOUND
    assert capsys.readouterr().out == "8\n"


@pytest.mark.parametrize("group", ["job", "batch"])
def test_a_retry_whose_answer_was_lost_is_repeated_with_its_key(group: str, capsys: Any) -> None:
    lost = OutcomeUnknown(Problem(code="outcome-unknown", detail="It was lost."), idempotency_key="k1")
    assert stop(Mock(**{"jobs.retry.side_effect": lost}), group, "retry", "7") is ExitStatus.UNKNOWN
    out, err = capsys.readouterr()
    assert out == ""
    words = shlex.split(err.partition("Go on with storage-api ")[2].partition(":")[0])
    again = Mock(**{"jobs.retry.return_value": JobRecord(id="8", raw={"id": "8"})})
    call(again, *words)
    again.jobs.retry.assert_called_once_with("7", idempotency_key="k1")
    assert capsys.readouterr().out == "8\n"


def test_a_retry_that_is_interrupted_says_how_to_go_on(capsys: Any) -> None:
    state = Offline(api=Mock(**{"jobs.retry.side_effect": [JobRecord(id="8", raw={"id": "8"}), KeyboardInterrupt]}))
    with pytest.raises(click.Abort):
        command_line().main(["job", "retry", "6", "7"], obj=state, standalone_mode=False)
    assert _interrupted(state) is ExitStatus.INTERRUPTED
    out, err = capsys.readouterr()
    assert out == "8\n"
    assert f"storage-api job retry 7 --idempotency-key {state.key}:" in err
    # What has been accepted needs no key any more.
    accepted = Offline(api=Mock(**{"jobs.retry.return_value": JobRecord(id="8", raw={"id": "8"})}))
    command_line().main(["job", "retry", "6"], obj=accepted, standalone_mode=False)
    assert accepted.key is None


def test_a_key_with_several_jobs_is_refused() -> None:
    api = Mock()
    with pytest.raises(click.UsageError, match="name one"):
        call(api, "job", "retry", "--idempotency-key", "k", "1", "2")
    assert api.mock_calls == []


def test_a_bulk_retry_without_answer_can_be_continued_with_its_key_and_filter(capsys: Any) -> None:
    lost = OutcomeUnknown(Problem(code="outcome-unknown", detail="It was lost."), idempotency_key="k1")
    api = Mock(**{"jobs.retry_all.side_effect": lost})
    options = ["--all", "--state", "failed", "--volume", "a b", "--since", "2h", "--finished-until", "2026-01-02"]
    assert stop(api, "job", "retry", "-y", *options) is ExitStatus.UNKNOWN
    words = shlex.split(capsys.readouterr().err.partition("Go on with storage-api ")[2].partition(": nothing")[0])
    again = Mock(**{"jobs.retry_all.return_value": Mock(done=(), refused=())})
    call(again, *words, "-y")
    sent = api.jobs.retry_all.call_args.kwargs
    assert again.jobs.retry_all.call_args.kwargs == sent | {"idempotency_key": "k1"}
    assert sent["all"] is True
    assert sent.keys() == {"all", "state", "volume", "created_after", "finished_before", "idempotency_key"}


@pytest.mark.parametrize("option", [each.opts[0] for each in _CANCEL.params if isinstance(each.type, NotEmpty)])
def test_an_option_that_is_empty_does_not_choose_all_jobs(option: str) -> None:
    api = Mock()
    with pytest.raises(click.BadParameter, match="is empty"):
        call(api, "job", "cancel", "--yes", "--state", "queued", option, "")
    assert api.mock_calls == []


def test_every_filter_option_must_not_be_empty() -> None:
    chosen = {each.name for each in _CANCEL.params if isinstance(each.type, NotEmpty)}
    assert len(chosen) == len(JobFilter.__annotations__.keys() - {"all", "id"})


@pytest.mark.parametrize("listing", [[[{"id": "7"}], [{"id": "8"}]], Unavailable(Problem(detail="It is away."))])
def test_watching_exits_with_the_status_of_the_jobs(listing: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    api, ids = Mock(**{"jobs.list.side_effect": listing}), [f"{number}" for number in range(201)]
    monkeypatch.setattr(jobs, "wait_for", Mock(side_effect=Stop(ExitStatus.STILL_RUNNING)))
    assert stop(api, "job", "watch", *ids) is ExitStatus.STILL_RUNNING
    out, err = capsys.readouterr()
    assert ("It is away." in err) or [line.strip() for line in out.splitlines()] == [
        "ID  OPERATION  TARGET  STATE  %  CREATED  ERROR",
        "7",
        "8",
    ]
    assert [len(asked.kwargs["id"]) for asked in api.jobs.list.mock_calls] == ([200, 1] if "7" in out else [200])


def test_a_batch_with_a_member_of_unknown_outcome_is_worse_than_one_that_failed() -> None:
    def batch(*codes: str) -> BatchFailed:
        members = [MemberResult.of({"job": "2", "status": 500, "problem": {"code": code}}) for code in codes]
        return BatchFailed(Problem(code="batch-failed"), None, members)

    assert status_of(batch("already-exists", "outcome-unknown")) is ExitStatus.UNKNOWN
    assert status_of(batch("already-exists", "no-such-volume")) is ExitStatus.FAILED


@pytest.mark.parametrize(
    ("body", "out"),
    [([], "[]\n"), ([{"a": 1}], '[{"a": 1}]\n'), ({"a": 1}, '{"a": 1}\n'), ({}, "{}\n"), (None, "")],
)
def test_a_result_is_written_as_it_is(body: Any, out: str, capsys: Any) -> None:
    call(Mock(**{"jobs.wait.return_value": body}), "job", "result", "7", "-o", "json")
    assert capsys.readouterr().out == out


def test_jobs_are_retried_also_after_one_whose_answer_was_lost(capsys: Any) -> None:
    lost = OutcomeUnknown(Problem(code="outcome-unknown"), idempotency_key="k")
    api = Mock(**{"jobs.retry.side_effect": [lost, JobRecord(id="8", raw={"id": "8"})]})
    assert stop(api, "job", "retry", "1", "2") is ExitStatus.UNKNOWN
    out, err = capsys.readouterr()
    assert (out, "job retry 1 --idempotency-key k:" in err) == ("8\n", True)


@pytest.mark.parametrize("fails", [True, False])
def test_members_are_written_when_their_batch_has_ended(fails: bool, capsys: Any) -> None:
    results = (MemberResult.of({"job": "8", "status": 201}),)
    failure = BatchFailed(Problem(code="batch-failed"), None, results)
    api = Mock(**{"batch_results.side_effect": [failure if fails else results]})
    state = Offline(api=api, output="json")
    with pytest.raises(BatchFailed) if fails else nullcontext():
        command_line().main(["batch", "wait", "7"], obj=state, standalone_mode=False)
    assert (capsys.readouterr().out, state.jobs) == ('[{"job": "8", "status": 201}]\n', ["7"])
    api.batch_results.assert_called_once_with("7", on_progress=ANY)
