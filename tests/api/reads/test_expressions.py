"""Filter expressions on single values."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.reads.filter_expressions import BadExpression, compile_expression


@pytest.mark.parametrize(
    ("text", "kind", "fitting", "others"),
    [
        ("db01", str, ["db01"], ["db0", "db011", "DB01", None]),
        ("db*", str, ["db", "db01"], ["adb", None]),
        ("*01", str, ["01", "db01"], ["db010"]),
        ("*b*0*", str, ["b0", "db01"], ["0b", "db"]),
        ("a*a", str, ["aa", "aba"], ["a"]),
        ("*ab*ba*", str, ["abba"], ["aba"]),
        ("*", str, ["", "x"], [None]),
        ("a|b*", str, ["a", "b", "bc"], ["ab", "c"]),
        ("!a|b", str, ["c", None], ["a", "b"]),
        ("!a*", str, ["b", None], ["a", "ab"]),
        ("!!a", str, ["a"], ["b", None]),
        ('"a|b"', str, ["a|b"], ["a", "b"]),
        ('"a*"', str, ["a*"], ["ab"]),
        ('"!a"', str, ["!a"], ["b"]),
        ('"a..b"', str, ["a..b"], ["a1", None]),
        ('""', str, [""], ['""', "x", None]),
        ('"null"', str, ["null"], [None]),
        ("null", str, [None], ["null", ""]),
        ("!null", str, ["x"], [None]),
        ("a..c", str, ["a", "b", "c"], ["d", None]),
        (">b", str, ["c"], ["a", "b", None]),
        (">x|<b", str, ["a", "y"], ["b", "x", None]),
        ("FOOZ..FOOZ", str, ["FOOZ"], ["FOO"]),
        (
            "2017-01-01T00:00:00Z..2018-01-01T00:00:00Z",
            datetime,
            ["2017-01-01T00:00:00Z", "2017-06-01T00:00:00.5Z", "2018-01-01T00:00:00Z"],
            ["2018-01-01T00:00:00.5Z", None],
        ),
        (">2017-01-01T00:00:00Z", datetime, ["2017-01-01T00:00:00.5Z"], ["2017-01-01T00:00:00Z", None]),
        (">2017-01-01T01:00:00+02:00", datetime, ["2016-12-31T23:00:00.1Z"], ["2016-12-31T23:00:00Z"]),
        ("2017-01-01T00:00:00.50Z", datetime, ["2017-01-01T00:00:00.5Z"], ["2017-01-01T00:00:00Z", None]),
        ("<2017-01-01", datetime, ["2016-12-31T23:59:59Z"], ["2017-01-01T00:00:00Z"]),
        # As in the filters of jobs: lower case, a "+" that came as a space, a leap second.
        (">=2017-01-01t00:00:00z", datetime, ["2017-01-01T00:00:00Z"], ["2016-12-31T23:59:59Z"]),
        ("2017-01-01T00:00:00 02:00", datetime, ["2016-12-31T22:00:00Z"], ["2017-01-01T02:00:00Z"]),
        ("2016-12-31T23:59:60Z..2017-01-02", datetime, ["2017-01-01T00:00:00Z"], ["2016-12-31T23:59:59Z"]),
        ("2017-01-01T00:00:00.1234567Z", datetime, ["2017-01-01T00:00:00.123456Z"], ["2017-01-01T00:00:00Z"]),
        ("2017-*|null", datetime, ["2017-01-01T00:00:00Z", None], ["2016-12-31T23:59:59Z"]),
        ("5", int, [5], [6, None]),
        ("-5..5", int, [-5, 0, 5], [-6, 6, None]),
        (">=5|null", int, [5, 6, None], [4]),
        ("<5", int, [4], [5, None]),
        ("<=1KB", int, [1024], [1025, None]),
        *(
            (f"2{unit}", int, [2 * 1024**power], [2 * 1024**power - 1, 2 * 1024**power + 1])
            for power, unit in enumerate(("KB", "MB", "GB", "TB", "pb"), 1)
        ),
        ("!5", int, [4, None], [5]),
        ("1gb", int, [2**30], [1]),
        ("true", bool, [True], [False, None]),
        ("!true", bool, [False, None], [True]),
        ("10.0.*|@d*", tuple, [("10.0.1.1",), ("x", "@db")], [("11.0",), (), None]),
        ("10.0.*|@db", tuple, [("10.0.1.1",), ("x", "@db")], [("11.0",), (), None]),
        ("!@db", tuple, [("x",), ()], [("x", "@db")]),
    ],
)
def test_each_operator(text, kind, fitting, others):
    fits = compile_expression(text, kind)
    assert [value for value in fitting if not fits(value)] == []
    assert [value for value in others if fits(value)] == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [("", str), ("|a", str), ("a|", str), ("!", str), ('"', str), ("x", int), ("1.5", int), ("1*", int),
     (">", int), ("1..", int), ("..5", int), ("yes", bool), ("true..false", bool), ("<true", bool), ("9" * 30, int),
     (">", str), ('"a', str),
     (">yesterday", datetime), ("2017-13-01T00:00:00Z", datetime), ("0001-01-01T00:00:00+01:00", datetime)],
)  # fmt: skip
def test_invalid_expressions_are_refused(text, kind):
    with pytest.raises(BadExpression):
        compile_expression(text, kind)


@pytest.mark.parametrize("text", ["", "a||b", "|a", "a|"])
def test_an_empty_alternative_is_reported(text):
    with pytest.raises(BadExpression, match="has an empty alternative"):
        compile_expression(text, str)


def test_a_pattern_with_many_wildcards_is_matched_in_time():
    fits = compile_expression("*a" * 2000 + "*b", str)
    assert not fits("a" * 5000)


#: Wildcards with up to three asterisks, and characters that mean something in regular expressions.
_WILDCARDS = st.lists(
    st.lists(st.text("ab+\n(", max_size=2), min_size=2, max_size=4).map("*".join), min_size=2, max_size=4
)


@given(_WILDCARDS, st.none() | st.text("ab+\n(", max_size=6))
@example(["a.b*", "*c", "*(*"], "a-b")
@example(["a.b*", "*c", "*(*"], "a.b+")
@example(["a.b*", "*c", "*(*"], "+c")
@example(["a.b*", "*c", "*(*"], "+a.b")
@example(["a.b*", "*c", "*(*"], "c+")
@example(["a.b*", "*c", "*(*"], "(")
def test_repeated_wildcards_match_like_one(wildcards, value):
    together = compile_expression("|".join(wildcards), str)(value)
    assert together is any(compile_expression(wildcard, str)(value) for wildcard in wildcards)
