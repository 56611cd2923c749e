"""How commands treat responses: with a client whose responses a test defines, and no service."""

from __future__ import annotations

import asyncio
import json
import shlex
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import click
import pytest

from flows import LOST, answer, problem, run
from storage_api_client.cli import login
from storage_api_client.cli.commands import jobs
from storage_api_client.cli.commands.jobs import _follow
from storage_api_client.cli.exit_status import ExitStatus, status_of
from storage_api_client.cli.program import _failed, _interrupted, command_line
from storage_api_client.cli.state import State, Stop
from storage_api_client.configuration.credentials_file import CredentialsFile
from storage_api_client.configuration.files import ConfigurationError
from storage_api_client.errors import BatchFailed, NotFound, OutcomeUnknown, Unavailable
from storage_api_client.models import JobRecord, Problem
from storage_api_client.models.batches import Event, MemberResult
from storage_api_client.models.resources import Snapshot
from storage_api_client.operations.service import is_alive, metrics, readiness
from storage_api_client.protocol.messages import ConnectionLost, Response
from storage_api_client.protocol.retries import Context

_JOB = {"id": "7", "operation": "create_lock", "target": "/v4/s/volumes/v/locks/h", "state": "failed", "done": True}


@dataclass
class Offline(State):
    """A call whose client is ``api``."""

    api: Mock = field(default_factory=Mock)

    def client(self, timeout: float | None = None) -> AbstractContextManager[Any]:  # type: ignore[override]
        return nullcontext(self.api)


def call(api: Mock, *words: str) -> None:
    command_line().main(list(words), obj=Offline(api=api), standalone_mode=False)


def stop(api: Mock, *words: str) -> ExitStatus:
    """The exit status of a command that does not end well."""
    with pytest.raises(Stop) as end:
        call(api, *words)
    return end.value.status


@pytest.mark.parametrize("words", [(), ("--all",)])
def test_whose_jobs_they_are_is_shown_where_they_may_be_others(words: tuple[str, ...], capsys: Any) -> None:
    call(Mock(**{"jobs.list.return_value": [_JOB | {"requested_by": "ann"}]}), "job", "list", *words)
    assert ("ann" in capsys.readouterr().out) is bool(words)


def test_jobs_that_were_made_are_named_although_another_was_not(capsys: Any) -> None:
    answers = [JobRecord(id="8", raw={"id": "8"}), NotFound(Problem(code="no-such-job", status=404))]
    assert stop(Mock(**{"jobs.retry.side_effect": answers}), "job", "retry", "1", "2") is ExitStatus.NOT_FOUND
    assert capsys.readouterr().out == "8\n"


@pytest.mark.parametrize("group", ["job", "batch"])
def test_a_retry_whose_answer_was_lost_goes_on_with_its_key(group: str, capsys: Any) -> None:
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


@pytest.mark.parametrize("words", [("1", "2"), ("--volume", "v", "--yes")])
def test_a_key_is_that_of_one_retry(words: tuple[str, ...]) -> None:
    api = Mock()
    with pytest.raises(click.UsageError, match="name one"):
        call(api, "job", "retry", "--idempotency-key", "k", *words)
    assert api.mock_calls == []


@pytest.mark.parametrize("listing", [[[{"id": "7"}], [{"id": "8"}]], Unavailable(Problem(detail="It is away."))])
def test_how_jobs_ended_is_the_status_of_watching_them(
    listing: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
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


def test_events_are_lines_until_there_are_enough(capsys: Any) -> None:
    failed = JobRecord.of(_JOB | {"error": {"code": "already-exists"}})
    left = iter(
        [Event("1", "job", failed), Event("2", "gap", None), Event("3", "job", failed), Event("4", "job", None)]
    )
    call(Mock(**{"events.return_value": left}), "events", "--limit", "3")
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["7", "7"]
    assert [line.split()[-1] for line in out.splitlines()] == ["already-exists"] * 2
    assert "missed (gap)" in err
    assert next(left).id == "4"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"status": 503, "detail": "No worker."}, "No worker."),
        ({"status": "starting"}, "starting"),
        (None, "not answer"),
    ],
)
def test_why_the_service_is_not_ready_is_said(document: Any, words: str, capsys: Any) -> None:
    api = Mock(url="http://s", **{"readiness.return_value": (False, document), "is_alive.return_value": True})
    assert stop(api, "status", "-o", "json") is ExitStatus.UNAVAILABLE
    assert words in json.loads(capsys.readouterr().out)["status"]


def test_a_service_that_cannot_be_reached_is_an_error_of_the_package() -> None:
    for probe in (readiness, is_alive, metrics):
        with pytest.raises(Unavailable, match="was lost"):
            run(probe(Context()), LOST)
    with pytest.raises(NotFound):
        run(metrics(Context()), problem(404, "not-found"))


def test_what_answers_in_the_place_of_the_service_is_not_ready() -> None:
    page = {"content-type": "text/html"}
    for answered in (Response(502, page, b"<html>"), Response(503, {}), Response(200, page, b"<html>")):
        assert run(readiness(Context()), answered)[0] == (False, None)
    for status, is_ready in ((200, True), (503, False)):
        assert run(readiness(Context()), answer(status, {"status": "x"}))[0] == (is_ready, {"status": "x"})


def test_a_role_that_one_does_not_have(capsys: Any) -> None:
    assert stop(Mock(**{"has_role.return_value": False}), "whoami", "--role", "ADMIN") is ExitStatus.NOT_AUTHORISED
    assert "do not have the role ADMIN" in capsys.readouterr().err


def test_a_setting_is_one_also_where_it_turns_something_off() -> None:
    api = Mock(**{"subsystem.return_value.volumes.update.return_value": {"name": "v"}})
    call(api, "volume", "update", "s", "v", "--no-autosize")
    assert api.subsystem().volumes.update.call_args.kwargs["autosize_enabled"] is False


def test_a_roll_back_names_the_snapshots_that_are_later_by_now(capsys: Any) -> None:
    made = [Snapshot.of({"name": name, "creation_time": f"2026-01-0{day}T00:00:00Z"})
            for name, day in (("old", 1), ("to", 2), ("same", 2), ("new", 3))]  # fmt: skip
    volumes = Mock(**{"get_snapshot.return_value": made[1], "snapshots.return_value": made})
    api = Mock(**{"subsystem.return_value.volumes": volumes})
    assert stop(api, "volume", "rollback", "s", "v", "--to", "to") is ExitStatus.USAGE
    assert "1 later snapshot goes: new." in capsys.readouterr().err
    volumes.snapshots.assert_called_once_with("v", fresh=True)


def test_what_is_said_at_an_interruption(capsys: Any) -> None:
    for state, words in (
        (State(jobs=["7", "8"], key="k"), "job wait 7 8"),
        (State(key="k"), "--idempotency-key k:"),
        (State(), "Interrupted."),
    ):
        assert _interrupted(state) is ExitStatus.INTERRUPTED
        assert words in capsys.readouterr().err


def test_a_lost_connection_is_a_service_that_is_away(capsys: Any) -> None:
    assert _failed(ConnectionLost("Nobody answers", sent=False)) is ExitStatus.UNAVAILABLE
    assert capsys.readouterr().err == "storage-api: Nobody answers.\n"


@pytest.mark.parametrize(("wanted", "timeout"), [(None, 7.0), (0.0, 0.0), (3.0, 3.0)])
def test_a_call_has_the_time_of_its_option_or_of_the_profile(wanted: float | None, timeout: float) -> None:
    profile = SimpleNamespace(timeout=7.0)
    service: Any = SimpleNamespace(url="http://s", profile=profile, credentials=None, ca_file=None)
    assert State(_found=service)._client_options(wanted)["timeout"] == timeout


def test_a_service_elsewhere_gives_no_session_without_asking() -> None:
    driver, service = Mock(), Mock(url="https://storage.example.org")
    with pytest.raises(ConfigurationError, match="--issuer"):
        login._with_session(driver, service)
    driver.run.assert_not_called()


@pytest.mark.parametrize(
    ("token", "name"),
    [
        ("x.eyJwcmVmZXJyZWRfdXNlcm5hbWUiOiJhbm4iLCJzdWIiOiIxIn0.y", "ann"),  # A user name, and an id.
        ("x.eyJzdWIiOiIxIn0.y", "1"),
        ("opaque", ""),
    ],
)
def test_the_name_in_a_token(token: str, name: str) -> None:
    assert login._name_in(token) == name


def test_what_was_stored_of_another_user_is_not_kept(tmp_path: Any, monkeypatch: Any) -> None:
    """Their refresh token would sign them in, as soon as the new token has ended."""
    file = CredentialsFile(tmp_path / "credentials.json")
    file.store({"profile": "p", "url": "http://s", "kind": "oauth", "access_token": "ann's", "refresh_token": "ann's"})
    seen: list[Any] = []

    def client(_url: str, *, credentials: Any, ca_file: str | None) -> Any:
        seen.extend([run(credentials.headers())[0], run(credentials.renew())[0], ca_file])
        return nullcontext(Mock(**{"roles.return_value": ("USER",)}))

    monkeypatch.setattr(login, "CredentialsFile", Mock(return_value=file))
    monkeypatch.setattr(login, "Client", client)
    state = State(_found=Mock(url="http://s", profile=SimpleNamespace(name="p"), ca_file=None))
    login._keep(state, {"kind": "oauth", "access_token": "bob's"})
    assert file.find("p", "http://s") == {"profile": "p", "url": "http://s", "kind": "oauth", "access_token": "bob's"}
    # Nor is the new token checked by means of theirs.
    assert seen == [{"Authorization": "Bearer bob's"}, False, None]


def test_signing_out_ends_a_session_at_the_service(monkeypatch: Any) -> None:
    driver = Mock()
    monkeypatch.setattr(login, "Driver", Mock(return_value=driver))
    monkeypatch.setattr(login, "CredentialsFile", Mock())
    login.sign_out(State(_found=Mock(entry={"kind": "session", "cookie": "sapi_session=x"})))
    _, (sent,), _ = run(driver.run.call_args.args[0], answer(302))
    assert (sent.method, sent.path, sent.headers) == ("POST", "/logout", {"Cookie": "sapi_session=x"})


@pytest.mark.parametrize(("group", "rows"), [("export", "policies.list"), ("volume", "volumes.list")])
def test_the_fields_that_are_wanted_are_the_columns(group: str, rows: str, capsys: Any) -> None:
    api = Mock(**{f"subsystem.return_value.{rows}.return_value": [{"name": "a", "uuid": "u"}]})
    call(api, group, "list", "s", "--fields", "name,uuid")
    assert capsys.readouterr().out.splitlines()[0].split() == ["NAME", "UUID"]


def test_whoever_watches_sees_how_all_ended(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr("storage_api_client.cli.commands.jobs.wait_for", Mock(side_effect=Stop(ExitStatus.FAILED)))
    api = Mock(**{"jobs.list.return_value": [_JOB]})
    assert stop(api, "job", "watch", "7") is ExitStatus.FAILED
    api.jobs.list.assert_called_once_with(id=("7",), all=True)
    assert capsys.readouterr().out.splitlines()[1].split()[0] == "7"


@pytest.mark.parametrize("timeout", [60.0, None])
def test_what_several_jobs_may_take_together_is_the_time_of_the_option(
    timeout: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some are followed only after others have ended."""
    monkeypatch.setattr("storage_api_client.cli.commands.jobs._AT_ONCE", 1)
    now, limits = [1000.0], []
    monkeypatch.setattr("storage_api_client.protocol.deadlines.time.monotonic", lambda: now[0])

    async def ended(limit: float | None, _show: Any) -> None:
        limits.append(limit)
        now[0] += 45

    @asynccontextmanager
    async def client() -> Any:
        yield SimpleNamespace(jobs=SimpleNamespace(get=AsyncMock(return_value=SimpleNamespace(ended=ended))))

    state: Any = SimpleNamespace(jobs=["1", "2", "3"], async_client=client)
    assert asyncio.run(_follow(state, Mock(), timeout)) == [None] * 3
    assert limits == ([None] * 3 if timeout is None else [60.0, 15.0, 0.0])


def test_of_several_jobs_those_are_left_that_have_not_succeeded() -> None:
    """Interrupting the wait prints their ids."""

    async def get(id_: str) -> Any:
        if id_ == "2":
            raise NotFound(Problem(code="no-such-job"))
        return AsyncMock()

    @asynccontextmanager
    async def client() -> Any:
        yield SimpleNamespace(jobs=SimpleNamespace(get=get))

    state: Any = SimpleNamespace(jobs=["1", "2"], async_client=client)
    assert [type(end) for end in asyncio.run(_follow(state, Mock(), None))] == [type(None), NotFound]
    assert state.jobs == ["2"]
