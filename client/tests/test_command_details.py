"""How commands treat responses: with a client whose responses a test defines, and no service."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from flows import LOST, answer, problem, run
from offline import Offline, call, stop
from storage_api_client.cli import login
from storage_api_client.cli.commands.jobs import _follow
from storage_api_client.cli.exit_status import ExitStatus
from storage_api_client.cli.program import _failed, _interrupted, command_line
from storage_api_client.cli.state import ChangeCommand, State, Stop
from storage_api_client.configuration.credentials_file import CredentialsFile
from storage_api_client.configuration.files import ConfigurationError
from storage_api_client.errors import NotAuthorised, NotFound, Refused, Unavailable
from storage_api_client.models import JobRecord, Problem
from storage_api_client.models.batches import Event
from storage_api_client.models.resources import Snapshot
from storage_api_client.operations.service import end_sessions, is_alive, metrics, readiness
from storage_api_client.protocol.messages import ConnectionLost, Response
from storage_api_client.protocol.retries import Context

_JOB = {"id": "7", "operation": "create_lock", "target": "/v4/s/volumes/v/locks/h", "state": "failed", "done": True}


@pytest.mark.parametrize("words", [(), ("--all",)])
def test_the_requester_is_shown_where_jobs_may_be_of_others(words: tuple[str, ...], capsys: Any) -> None:
    call(Mock(**{"jobs.list.return_value": [_JOB | {"requested_by": "ann"}]}), "job", "list", *words)
    assert ("ann" in capsys.readouterr().out) is bool(words)


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
    call(Mock(**{"events.return_value": [Event("5", "job", failed)]}), "events", "-o", "json")
    assert json.loads(capsys.readouterr().out) == {"id": "5", "job": failed.raw}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"status": 503, "detail": "No worker."}, "No worker."),
        ({"status": "starting"}, "starting"),
        (None, "not answer"),
    ],
)
def test_the_reason_of_a_service_that_is_not_ready_is_printed(document: Any, words: str, capsys: Any) -> None:
    api = Mock(url="http://s", **{"readiness.return_value": (False, document), "is_alive.return_value": True})
    assert stop(api, "status", "-o", "json") is ExitStatus.UNAVAILABLE
    assert words in json.loads(capsys.readouterr().out)["status"]


def test_a_service_that_cannot_be_reached_is_an_error_of_the_package() -> None:
    for probe in (readiness, is_alive, metrics):
        with pytest.raises(Unavailable, match="was lost"):
            run(probe(Context()), LOST)
    with pytest.raises(NotFound):
        run(metrics(Context()), problem(404, "not-found"))
    with pytest.raises(Refused, match="leads to /login"):
        run(metrics(Context()), Response(302, {"location": "/login"}))


def test_the_number_of_ended_sessions_is_that_of_the_service() -> None:
    ended, (sent,), _ = run(end_sessions(Context(), "ann", 9), answer(200, {"ended": 3}))
    assert (ended, sent.method, sent.path) == (3, "POST", "/conf/sessions/ann/end")


def test_another_program_that_answers_is_not_ready() -> None:
    page = {"content-type": "text/html"}
    foreign = [Response(200, {"content-type": "application/json"}, body) for body in (b"[]", b'"OK"', b"null", b"1")]
    for answered in (Response(502, page, b"<html>"), Response(503, {}), Response(200, page, b"<html>"), *foreign):
        assert run(readiness(Context()), answered)[0] == (False, None)
    for status, is_ready in ((200, True), (503, False)):
        assert run(readiness(Context()), answer(status, {"status": "x"}))[0] == (is_ready, {"status": "x"})


def test_a_missing_role_is_reported(capsys: Any) -> None:
    assert stop(Mock(**{"has_role.return_value": False}), "whoami", "--role", "ADMIN") is ExitStatus.NOT_AUTHORISED
    assert "do not have the role ADMIN" in capsys.readouterr().err


def test_options_that_turn_something_off_are_sent() -> None:
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


def test_messages_at_an_interruption(capsys: Any) -> None:
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
def test_the_timeout_is_that_of_the_option_or_of_the_profile(wanted: float | None, timeout: float) -> None:
    profile = SimpleNamespace(timeout=7.0)
    service: Any = SimpleNamespace(url="http://s", profile=profile, credentials="c", ca_file="/ca.pem")
    state = State(_found=service)
    expected = {"timeout": timeout, "credentials": "c", "ca_file": "/ca.pem", "notify": state.note}
    assert state._client_options(wanted) == expected


def test_a_change_that_is_interrupted_names_its_job_once() -> None:
    def change(*, on_progress: Any, **_: Any) -> None:
        on_progress(JobRecord.of(_JOB))
        on_progress(JobRecord.of(_JOB))
        raise KeyboardInterrupt

    state = State()
    with pytest.raises(KeyboardInterrupt):
        ChangeCommand(state).change(change)
    assert state.jobs == ["7"]


@pytest.mark.parametrize(("output", "text"), [("table", "NAME\nv\n"), ("json", '{"name": "v"}\n'), ("name", "v\n")])
def test_the_output_of_a_creation_is_one_line_or_one_object(output: str, text: str, capsys: Any) -> None:
    State(output=output).show_made({"name": "v"}, ("name",))
    assert capsys.readouterr().out == text


@pytest.mark.parametrize(("output", "text"), [("table", "7\n"), ("name", "7\n"), ("json", '{"id": "7"}\n')])
def test_a_change_that_is_not_waited_for_writes_its_job(output: str, text: str, capsys: Any) -> None:
    change = Mock(return_value=JobRecord.of({"id": "7"}))
    ChangeCommand(State(output=output), wait=False, key="k").change(change)
    change.assert_called_once_with(wait=False, timeout=None, idempotency_key="k")
    assert capsys.readouterr().out == text


def test_whoami_prints_service_and_user(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.delenv("STORAGE_API_TOKEN", raising=False)
    service = Mock(profile=SimpleNamespace(name="p", output=None), entry={"kind": "basic", "user": "ann"})
    api = Mock(url="http://s", **{"jobs.list.return_value": (), "roles.return_value": ("USER",)})
    command_line().main(["whoami"], obj=Offline(api=api, output="json", _found=service), standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == {
        "url": "http://s", "profile": "p", "signed_in": "basic", "user": "ann", "roles": ["USER"],
    }  # fmt: skip
    # A role may be that of everybody; jobs are for those who have signed in.
    api.jobs.list.side_effect = NotAuthorised(Problem(code="unauthenticated"))
    with pytest.raises(NotAuthorised):
        call(api, "whoami")


def test_login_without_an_issuer_is_refused_for_other_hosts() -> None:
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


def test_stored_tokens_of_another_user_are_replaced(tmp_path: Any, monkeypatch: Any) -> None:
    """Their refresh token would sign them in, as soon as the new token has ended."""
    file = CredentialsFile(tmp_path / "credentials.json")
    before = {"profile": "p", "url": "http://s", "kind": "oauth", "access_token": "ann's", "refresh_token": "ann's"}
    file.store(before)
    seen: list[Any] = []
    answers: Any = iter((NotAuthorised(Problem(code="unauthenticated")), [("USER",)]))

    def client(url: str, *, credentials: Any, ca_file: str | None) -> Any:
        seen.extend([url, run(credentials.headers())[0], run(credentials.renew())[0], ca_file])
        return nullcontext(Mock(**{"roles.side_effect": next(answers)}))

    monkeypatch.setattr(login, "CredentialsFile", Mock(return_value=file))
    monkeypatch.setattr(login, "Client", client)
    state = State(_found=Mock(url="http://s", profile=SimpleNamespace(name="p"), ca_file="/ca.pem"))
    # What the service refuses is not stored.
    with pytest.raises(NotAuthorised):
        login._keep(state, {"kind": "oauth", "access_token": "bob's"})
    assert file.find("p", "http://s") == before
    login._keep(state, {"kind": "oauth", "access_token": "bob's"})
    assert file.find("p", "http://s") == {"profile": "p", "url": "http://s", "kind": "oauth", "access_token": "bob's"}
    # Nor is the new token checked by means of theirs.
    assert seen == ["http://s", {"Authorization": "Bearer bob's"}, False, "/ca.pem"] * 2


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


def test_watching_prints_the_end_of_every_job(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr("storage_api_client.cli.commands.jobs.wait_for", Mock(side_effect=Stop(ExitStatus.FAILED)))
    api = Mock(**{"jobs.list.return_value": [_JOB]})
    assert stop(api, "job", "watch", "7") is ExitStatus.FAILED
    api.jobs.list.assert_called_once_with(id=("7",), all=True)
    assert capsys.readouterr().out.splitlines()[1].split()[0] == "7"


@pytest.mark.parametrize("timeout", [60.0, None])
def test_the_timeout_applies_to_several_jobs_together(timeout: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some are followed only after others have ended."""
    monkeypatch.setattr("storage_api_client.cli.commands.jobs._AT_ONCE", 1)
    now, limits = [1000.0], []
    monkeypatch.setattr("storage_api_client.protocol.deadlines.time.monotonic", lambda: now[0])

    async def ended(limit: float | None, _show: Any) -> None:
        limits.append(limit)
        now[0] += 45

    @asynccontextmanager
    async def client(_timeout: float | None) -> Any:
        yield SimpleNamespace(jobs=SimpleNamespace(get=AsyncMock(return_value=SimpleNamespace(ended=ended))))

    state: Any = SimpleNamespace(jobs=["1", "2", "3"], async_client=client)
    assert asyncio.run(_follow(state, Mock(), timeout)) == [None] * 3
    assert limits == ([None] * 3 if timeout is None else [60.0, 15.0, 0.0])


def test_after_an_interruption_unfinished_jobs_are_printed() -> None:
    """Interrupting the wait prints their ids."""

    async def get(id_: str) -> Any:
        if id_ == "2":
            raise NotFound(Problem(code="no-such-job"))
        return AsyncMock()

    @asynccontextmanager
    async def client(_timeout: float | None) -> Any:
        yield SimpleNamespace(jobs=SimpleNamespace(get=get))

    state: Any = SimpleNamespace(jobs=["1", "2"], async_client=client)
    assert [type(end) for end in asyncio.run(_follow(state, Mock(), None))] == [type(None), NotFound]
    assert state.jobs == ["2"]
