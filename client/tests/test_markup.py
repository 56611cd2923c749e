"""Brackets in what people write, and in messages of storage systems, are text: rich would take them for its markup."""

from __future__ import annotations

import pytest

from storage_api_client.cli.output import write
from storage_api_client.cli.progress import Bars
from storage_api_client.models import JobRecord

_TEXT = "[red]shop[/red] [/] [1]"


def test_brackets_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    write([{"name": "db1", "comment": _TEXT}], ("name", "comment"), "table")
    assert capsys.readouterr().out.splitlines()[1].split(maxsplit=1) == ["db1", _TEXT]


def test_brackets_beside_a_bar_and_above_it() -> None:
    bars = Bars()
    try:
        bars.show(JobRecord.of({"id": "1", "operation": "o", "state": "running", "progress": {"message": _TEXT}}))
        (described,) = bars._bars.make_tasks_table(bars._bars.tasks).columns[0].cells
        assert str(described) == f"o: {_TEXT}"
        with bars._bars.console.capture() as captured:
            bars.note(_TEXT)
        assert _TEXT in captured.get()
    finally:
        bars.close()
