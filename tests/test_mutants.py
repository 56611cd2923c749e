"""The mutation testing of `make mutants` puts in the faults that it says, and knows which lines of a script run."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.mutants import lua, python
from tests.mutants.lua_lines import CHANNEL, traced
from tests.mutants.python import applied
from worker.store.script_runner import script_names, script_source


def _lines(source: str) -> set[str]:
    return {applied(source, edit).strip() for edit in python.mutants(source)}


@pytest.mark.parametrize(
    ("source", "mutants"),
    [
        ("a = b < 1", {"a = b <= 1", "a = b < 2"}),
        ("a = b and not c", {"a = ((b) or (not c))", "a = ((not c))", "a = ((b))", "a = b and (c)"}),
        ("if a:\n    b()", {"if not a:\n    b()", "if False:\n    b()", "if a:\n    pass"}),
        ("with held:\n    b()", {"with __import__('contextlib').nullcontext():\n    b()", "with held:\n    pass"}),
        ("with lock:\n    b()", {"with lock:\n    pass"}),
        ("zip(a, b, strict=True)", {"pass", "zip(b, a, strict=True)"}),
        ("f(a, a)", {"pass"}),
        ("a.b = c(d, e)", {"pass", "a.b = c(e, d)"}),
        ("def a():\n    return b", {"def a():\n    return None"}),
    ],
)
def test_python_mutants(source: str, mutants: set[str]):
    assert _lines(source) == mutants


@pytest.mark.parametrize(
    ("source", "mutants"),
    [
        (
            "  if a and b then return c end",
            {"  if not (a and b) then return c end", "  if a then return c end", "  if b then return c end",
             "  if a or b then return c end", ""},
        ),
        ("  call(a, b)", {"  call(b, a)", ""}),
        ("  local n = f < 1", {"  local n = f <= 1"}),
        ("-- if a and b then", set()),
    ],
)  # fmt: skip
def test_lua_mutants(source: str, mutants: set[str]):
    assert {edit.text for edit in lua.mutants(source)} == mutants


def test_each_accepted_mutant_is_of_a_file_and_has_one_reason():
    top = Path(__file__).resolve().parents[1]
    accepted = tomllib.loads((top / "tests/mutants/accepted.toml").read_text())["accepted"]
    assert len(accepted) > 100
    assert len({entry["mutant"] for entry in accepted}) == len(accepted)
    assert [entry for entry in accepted if entry.keys() != {"mutant", "reason"} or not entry["reason"]] == []
    assert [name for entry in accepted if not (top / (name := entry["mutant"].partition(" ")[0])).is_file()] == []


def test_instrumented_scripts_report_their_lines(redis_client):
    with redis_client.pubsub() as subscriber:
        subscriber.psubscribe(f"*{CHANNEL}")
        assert subscriber.get_message(timeout=5)["type"] == "psubscribe"
        source = "local function f(n) return n end\nif f(1) == 2 then\n  return 3\nend\nreturn f(4)\n"
        assert redis_client.eval(traced("some", source, is_first=True), 1, "p:") == 4
        lines = [subscriber.get_message(timeout=5)["data"] for _ in range(3)]
        assert lines == [b"some:2", b"some:1", b"some:5"]
        assert subscriber.get_message() is None


@pytest.mark.parametrize("name", script_names())
def test_every_script_can_be_instrumented(redis_client, name: str):
    assert redis_client.script_load(traced(name, script_source(name), is_first=True))
