"""What people read: sizes, times and plots."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from api.console import charts, formatting, wording
from api.console.capacity import Capacity
from api.console.forms import body_of, changed_fields, field_errors, parse_size
from worker.catalog.operations import OPERATIONS
from worker.catalog.problem_types import PROBLEM_TYPES
from worker.catalog.resource_types import POLICIES, VOLUMES


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (10 * 2**30, "10.0 GiB"), (2**50, "1.00 PiB"),
        # Rounded up, it has a digit less behind the point, or is one of the next unit.
        (9.996 * 2**20, "10.0 MiB"), (99.96 * 2**20, "100 MiB"), (1023 * 2**20, "1023 MiB"), (2**30 - 1, "1.00 GiB"),
        (None, "–"),
    ],
)  # fmt: skip
def test_sizes_have_three_digits(value, text):
    assert formatting.size(value) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10GiB", 10 * 2**30), ("500 GB", 500 * 10**9), ("1024", 1024), ("3m", 3 * 10**6), ("1PiB", 2**50),
        ("1.5TiB", 1.5 * 2**40), ("2k", 2000), ("much", "much"), ("-5", "-5"), ("", ""),
        (str(2**63 - 1), 2**63 - 1), ("1.000000001TB", 1000000001000), ("9" * 400, "9" * 400),
        # One more than the API takes, which says so.
        ("100000000 TB", 2**63),
    ],
)  # fmt: skip
def test_sizes_may_have_units(text, value):
    assert parse_size(text) == value


def test_empty_fields_are_left_out_and_flags_are_flags():
    fields = {"size_total": "1KiB", "autosize_enabled": "yes", "compression_enabled": "", "caching_policy": " auto "}
    assert body_of(fields, tuple(fields)) == {"size_total": 1024, "autosize_enabled": True, "caching_policy": "auto"}


def test_text_that_is_no_number_is_sent_to_the_api_as_it_is():
    assert body_of({"percentage_snapshot_reserve": "x"}, ("percentage_snapshot_reserve",)) == {
        "percentage_snapshot_reserve": "x"
    }


def test_errors_are_assigned_to_their_field():
    problem = {"errors": [{"pointer": "/size_total", "detail": "must be an integer"}]}
    assert field_errors(problem) == {"size_total": "must be an integer"}
    # That of a part stands at the field of the whole.
    assert field_errors({"errors": [{"pointer": "/rules/1", "detail": "is odd"}]}) == {"rules": "is odd"}
    assert field_errors(None) == {}


@pytest.mark.parametrize(("part", "whole", "share"), [(1, 4, 25), (5, 4, 100), (1, 0, None), (None, 4, None)])
def test_percentages_are_between_0_and_100(part, whole, share):
    assert formatting.percent(part, whole) == share


def test_the_longest_bar_is_the_largest_value():
    drawn = charts.bars({"a": 1, "b": 4, "c": 2}, limit=2)
    assert [(bar.label, bar.width) for bar in drawn] == [("b", 100), ("c", 50)]


def test_snapshots_are_placed_between_the_oldest_and_now():
    rows = [
        {"name": "a", "creation_time": "2026-01-01T00:00:00Z"},
        {"name": "b", "creation_time": "2026-06-01T00:00:00Z"},
    ]
    first, second = charts.time_line(rows)
    assert first.x == 2
    assert 2 < second.x < 98
    assert charts.time_line([]) == []
    undated = {"name": "c", "creation_time": None}
    assert charts.time_line([undated]) == []
    assert [mark.label for mark in charts.time_line([*rows, undated])] == ["a", "b"]


def test_capacity_counts_what_is_known():
    volumes: list[Mapping[str, Any]] = [
        {"name": "a", "size_total": 10, "size_used": 4, "aggregate_name": "x"},
        {"name": "b", "size_total": None, "size_used": 1, "aggregate_name": None},
        {"name": "c", "size_total": 10, "size_used": 9, "aggregate_name": "x"},
        {"name": "d", "size_total": 100, "size_used": 2, "aggregate_name": "y"},
    ]
    capacity = Capacity.of(volumes)
    assert (capacity.volumes, capacity.total, capacity.used, capacity.nearly_full) == (4, 120, 16, 1)
    assert [(one.name, one.volumes, one.total, one.used) for one in capacity.aggregates] == [
        ("x", 2, 20, 13), ("y", 1, 100, 2), ("", 1, 0, 1),
    ]  # fmt: skip
    assert [bar.label for bar in capacity.fullest] == ["c", "a", "d", "b"]
    assert [bar.width for bar in capacity.fullest] == [90, 40, 2, 0]


def test_only_fields_that_differ_from_their_initial_value_are_changed():
    fields = {
        "size_total": "2GiB", "was-size_total": "1.00 GiB", "comment": "", "was-comment": "old",
        "caching_policy": "", "was-caching_policy": "auto", "qos_policy": "x", "was-qos_policy": "x", "key": "k",
    }  # fmt: skip
    assert changed_fields(fields) == {"size_total": 2**31, "comment": ""}
    assert changed_fields({"comment": "  ", "was-comment": "old"}) == {"comment": ""}
    assert changed_fields({"comment": "", "was-comment": ""}) == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (-1, "0 s"), (0.0054, "5 ms"), (0.9994, "999 ms"), (1, "1 s"), (90, "2 min"), (7200, "2 h"),
        (172800, "2 d"), (None, "–"),
        # What is rounded up to the next unit is one of that.
        (0.9996, "1 s"), (59.4, "59 s"), (59.6, "1 min"), (3595, "1 h"), (86399, "1 d"),
    ],
)  # fmt: skip
def test_times_are_written_in_their_largest_unit(seconds, text):
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    "operation", [operation for operation in OPERATIONS.values() if operation.is_change], ids=lambda each: each.name
)
def test_a_job_links_to_its_object_unless_that_was_removed(operation):
    touched = {effect.resource_type: effect.what for effect in operation.effects}
    kind, collection = ("policy", POLICIES) if POLICIES in touched else ("volume", VOLUMES)
    job = {"operation": operation.name, "subsystem": "filer", "request": {kind: "x"}}
    page = {"volume": "volumes", "policy": "export"}[kind]
    after = "" if touched.get(collection) == "delete" else page
    assert wording.subject({**job, "state": "succeeded"})["page"] == after
    for state in ("queued", "running", "cancelled"):
        assert wording.subject({**job, "state": state})["page"] == page
    for code, left in ((f"no-such-{kind}", ""), ("timed-out", page)):
        assert wording.subject({**job, "state": "failed", "error": {"code": code}})["page"] == left


def test_problems_say_nothing_was_changed_only_where_that_is_certain():
    certain = {"worker-lost": "The change was not made", "backend-unavailable": "Nothing was changed"}
    for code in PROBLEM_TYPES:
        words = wording.next_step({"code": code})
        assert ("not made" in words or "Nothing was changed" in words) is (code in certain), code
        assert certain.get(code, "") in words
        # Whoever repeats it blindly may make it twice.
        assert ("Look at the storage system" in words) is (code in ("outcome-unknown", "timed-out")), code


def test_values_are_written_unchanged():
    assert formatting.json_text({"comment": "für <db>"}) == '{\n  "comment": "für <db>"\n}'
    assert formatting.clock("2026-01-01T01:30:00.5+02:00") == "2025-12-31 23:30:00 UTC"
    assert formatting.clock(None) == "–"


class Noon(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz=None):
        """Noon."""
        return cls(2026, 1, 1, 12, tzinfo=tz)


@pytest.mark.parametrize(
    ("at", "text"),
    [
        ("2026-01-01T11:59:59.500000Z", "just now"),
        ("2026-01-01T11:59:59Z", "1 s ago"),
        ("2026-01-01T11:00:00+01:00", "2 h ago"),
        # The clocks of two machines differ.
        ("2026-01-01T12:00:05Z", "just now"),
        (None, "–"),
    ],
)
def test_times_are_written_by_how_long_ago_they_were(monkeypatch, at, text):
    monkeypatch.setattr(formatting, "datetime", Noon)
    assert formatting.ago(at) == text


def test_the_columns_of_a_day_are_as_high_as_their_jobs():
    now_s = 1_800_000_900
    history = [
        {"from": now_s - 90_000, "at": now_s - 89_000, "succeeded": 99, "failed": 0, "cancelled": 0, "run_s": 1.0},
        {"from": now_s - 43_200, "at": now_s - 42_300, "succeeded": 3, "failed": 1, "cancelled": 0, "run_s": 8.0},
        {"from": now_s - 9, "at": now_s, "succeeded": 1, "failed": 0, "cancelled": 1, "run_s": 2.0},
    ]
    plot = charts.day_plot(history, now_s)
    first, second = plot.columns
    assert (first.good, first.bad, second.good, second.bad) == (75, 25, 25, 0)
    assert (first.run, second.run) == (100, 50)
    assert first.x == 50
    # One of a few seconds can still be seen.
    assert (first.width, second.width) == (0.94, 0.5)
    hours = [int(hour[:2]) for hour in plot.hours]
    assert [(later - earlier) % 24 for earlier, later in pairwise(hours)] == [6] * 4
    assert (plot.succeeded, plot.failed, plot.most_jobs, plot.longest_s) == (4, 1, 4, 2)
    assert first.label.endswith("3 succeeded, 1 failed, 2 s each")
    assert charts.day_plot([], now_s).columns == ()


def test_an_interval_that_began_before_the_day_is_drawn_as_far_as_it_is_of_it():
    now_s = 1_800_000_900
    counts = {"succeeded": 1, "failed": 0, "cancelled": 0, "run_s": 1.0}
    (column,) = charts.day_plot([{"from": now_s - 90_000, "at": now_s - 77_760, **counts}], now_s).columns
    assert (column.x, column.width) == (0, 9)
