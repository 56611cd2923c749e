"""Files of batches: tables as spreadsheets write them, and YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from storage_api_client.cli.commands.batches import _order
from storage_api_client.operations.batch_files import from_rows


@pytest.mark.parametrize(("word", "value"), [("yes", True), ("TRUE", True), ("no", False), ("false", False)])
def test_values_of_a_table_have_the_types_of_their_columns(word: str, value: bool) -> None:
    snapshot = {"operation": "create_snapshot", "subsystem": "n", "volume": "v", "name": "s"}
    volume = {"operation": "create_volume", "subsystem": "n", "volume": "v", "size_total": "5"}
    order = from_rows([snapshot | {"purge_old_if_needed": word}, volume | {"autosize_enabled": word, "comment": word}])
    purging, creating = (member["body"] for member in order["requests"])
    assert purging == ({"purge_old_if_needed": True} if value else {})
    assert creating == {"size_total": 5, "autosize_enabled": value, "comment": word}


def _ordered(tmp_path: Path, content: bytes, name: str = "order.csv") -> dict[str, Any]:
    path = tmp_path / name
    path.write_bytes(content)
    with path.open(encoding="utf-8") as file:
        return _order(file)


def test_a_table_from_a_spreadsheet(tmp_path: Path) -> None:
    order = _ordered(tmp_path, b"\xef\xbb\xbfoperation,subsystem,policy,rules\r\ncreate_policy,s,p,a b\r\n")
    assert order["requests"][0]["body"] == {"rules": ["a", "b"]}


def test_a_cell_may_have_several_lines(tmp_path: Path) -> None:
    text = "for orders\nask ann\x0b\u2028first"
    order = _ordered(tmp_path, f'operation,subsystem,volume,comment\nupdate_volume,s,v,"{text}"\n'.encode())
    assert [member["body"] for member in order["requests"]] == [{"comment": text}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"operation,subsystem,policy,rules\ncreate_policy,s,p,a,b\n",
            "Request 0 has more cells than there are columns",
        ),
        (b"method,path,body\nPOST,/v4/s/export/p,rules\n", "Request 0: body is no JSON"),
        ("operation,subsystem\n".encode("utf-16"), "The file is no text in UTF-8"),
    ],
)
def test_a_malformed_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(click.UsageError, match=message):
        _ordered(tmp_path, content)


@pytest.mark.parametrize("delimiter", [b",", b";", b"\t"])
@pytest.mark.parametrize("name", ["order.csv", "-"])
def test_a_table_may_have_other_delimiters(delimiter: bytes, name: str, tmp_path: Path) -> None:
    rows = (b'"operation"', b'"subsystem"', b"volume", b"name"), (b"create_snapshot", b"s", b"v", b"pre")
    order = _ordered(tmp_path, b"\n".join(delimiter.join(row) for row in rows), name)
    assert [member["path"] for member in order["requests"]] == ["/v4/s/volumes/v/snapshots/pre"]


def test_a_comment_with_commas_makes_no_table(tmp_path: Path) -> None:
    content = b"# before, during; after\n- {operation: create_snapshot, subsystem: s, volume: v, name: pre}\n"
    assert len(_ordered(tmp_path, content, "order")["requests"]) == 1


def test_empty_texts_are_left_out_of_tables_only(tmp_path: Path) -> None:
    """In YAML it is intended: it deletes the comment of a volume."""
    yaml = b"- {operation: update_volume, subsystem: s, volume: v, comment: '', size_total: null}"
    table = b"operation,subsystem,volume,comment,size_total\nupdate_volume,s,v,,5\n"
    bodies = [_ordered(tmp_path, content, "order")["requests"][0]["body"] for content in (yaml, table)]
    assert bodies == [{"comment": ""}, {"size_total": 5}]


def test_a_date_in_yaml_is_read_as_text(tmp_path: Path) -> None:
    content = b"""
    name: 2026-11-28
    requests:
    - {operation: create_snapshot, subsystem: s, volume: v, name: 2026-11-28}
    - {method: PATCH, path: /v4/s/volumes/v, body: {comment: 2026-11-28}}
    """
    order = _ordered(tmp_path, content, "order.yaml")
    assert order["name"] == "2026-11-28"
    assert order["requests"][0]["path"] == "/v4/s/volumes/v/snapshots/2026-11-28"
    assert order["requests"][1]["body"] == {"comment": "2026-11-28"}


@pytest.mark.parametrize("name", [b"20261128", b"0123", b"on", b"1.5", b"[a]"])
def test_a_name_that_is_no_text_is_refused(name: bytes, tmp_path: Path) -> None:
    """The number 0123 is 83 in YAML, and 1_000 is 1000: the original text is lost."""
    content = b"- {operation: create_snapshot, subsystem: s, volume: v, name: " + name + b"}"
    with pytest.raises(click.UsageError, match="Request 0: name must be text: write it in quotes"):
        _ordered(tmp_path, content, "order.yaml")
