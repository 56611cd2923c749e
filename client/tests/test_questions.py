"""Irreversible commands are run only after confirmation."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from unittest.mock import Mock

import click
import pytest

from storage_api_client.cli.exit_status import ExitStatus
from storage_api_client.cli.program import command_line
from storage_api_client.cli.state import Stop
from storage_api_client.models import Snapshot
from storage_api_client.operations.jobs import BulkResult
from test_words_and_calls import CHANGES, READS, Offline

_ASKING = {words.replace(" -y", ""): called[0] for words, called in (READS | CHANGES).items() if " -y" in words}
_BULK = BulkResult(("1",), ({"id": "2", "code": "job-not-cancellable"},))


def _with_yes(group: click.Group, name: str = "") -> set[str]:
    """The names of the commands that have ``--yes``."""
    names: set[str] = set()
    for each in group.commands.values():
        if isinstance(each, click.Group):
            names |= _with_yes(each, f"{name}{each.name} ")
        elif "yes" in {parameter.name for parameter in each.params}:
            names.add(f"{name}{each.name}")
    return names


def test_every_command_with_confirmation_is_covered() -> None:
    assert {" ".join(words.split()[:2]) for words in _ASKING} == _with_yes(command_line())


@pytest.mark.parametrize(
    ("is_terminal", "says_yes", "status"),
    [(False, True, ExitStatus.USAGE), (True, False, ExitStatus.FAILED), (True, True, None)],
)
@pytest.mark.parametrize("words", _ASKING)
def test_commands_run_only_after_confirmation(
    words: str, is_terminal: bool, says_yes: bool, status: ExitStatus | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Mock(isatty=Mock(return_value=is_terminal)))
    monkeypatch.setattr("click.confirm", Mock(return_value=says_yes))
    state = Offline(output="name")
    state.api.subsystem.return_value.volumes.configure_mock(
        **{"snapshots.return_value": (), "get_snapshot.return_value": Snapshot("x")}
    )
    for what in ("cancel", "retry"):
        getattr(state.api.jobs, f"{what}_all").return_value = BulkResult((), ())
    with nullcontext() if status is None else pytest.raises(Stop) as end:
        command_line().main(shlex.split(words), obj=state, standalone_mode=False)
    assert getattr(end, "value", Stop(ExitStatus.DONE)).status is (status or ExitStatus.DONE)
    assert (_ASKING[words] in {call[0] for call in state.api.mock_calls}) is (status is None)


@pytest.mark.parametrize("what", ["cancel", "retry"])
def test_jobs_that_could_not_be_changed_make_a_failure(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    api = Mock(**{f"jobs.{what}_all.return_value": _BULK})
    with pytest.raises(Stop) as end:
        command_line().main(["job", what, "--volume", "v", "-y"], obj=Offline(api=api), standalone_mode=False)
    assert end.value.status is ExitStatus.FAILED
    out, err = capsys.readouterr()
    assert out == "1\n"
    assert "Job 2 was left as it is: job-not-cancellable" in err
    assert f"1 jobs {'are cancelled' if what == 'cancel' else 'begin anew'}." in err
