"""Names are checked before anything else, in paths and bodies alike."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.schemas import names
from api.v3 import names as v3_names
from tests.api.front_end import pointers, problem

GOOD_VOLUMES = ["a", "_x", "0", "db-vol.01", "a" * 203, "node:/vol/a", ":/a", "n.x-1_:/a/b/c", "x:/.a", "snapshots"]
BAD_VOLUMES = [
    "-a",
    ".a",
    "a b",
    "ä",
    "a\n",
    "a\nb",
    "a\0",
    "a/b",
    "a//b",
    "a/",
    "a" * 204,
    "n:a",
    "n:",
    "n:/",
    "n:/a/",
    "n:/a//b",
    "n:/./a",
    "n:/a/..",
    "n:/a/snapshots/b/c",
    "n:/a/rule/b",
    "n ode:/a",
    "a:b:/c",
    "n:/a b",
    "n:/a\n",
]
GOOD_RULES = [
    "host",
    "host.example.org",
    "*.example.org",
    ".example.org",
    "10.0.0.1",
    "10.0.0.0/8",
    "10.0.0.0/255.0.0.0",
    "::1",
    "2001:db8::/32",
    "@netgroup",
    "0.0.0.0/0",
    "web_1",
]
BAD_RULES = [
    "*",
    "*.",
    ".",
    "@",
    "a b",
    "a,b",
    "10.0.0.0/33",
    "1.2.3.400",
    "10.0.0",
    "host/24",
    "fe80::1%eth0",
    "a" * 256,
    "a\n",
    "*.*",
    "",
    "١.٢.٣.٤",
]


@pytest.mark.parametrize("name", GOOD_VOLUMES)
def test_a_volume_may_be_called(name):
    assert names.volume(name) == ""


@pytest.mark.parametrize("name", BAD_VOLUMES)
def test_a_volume_may_not_be_called(client, name):
    assert names.volume(name)
    assert pointers(problem(client.get(f"/v4/filer/volumes/{quote(name)}"), 422, "validation-failed")) == ["/volume"]


@pytest.mark.parametrize("rule", GOOD_RULES)
def test_a_rule_may_be(rule):
    assert names.rule(rule) == ""


@pytest.mark.parametrize("rule", BAD_RULES)
def test_a_rule_may_not_be(rule):
    assert names.rule(rule)


@pytest.mark.parametrize("host", ["h", "a.b.c", "10.0.0.1", "::1", "a-b", "123", "1.a"])
def test_a_host_may_be(host):
    assert names.host(host) == ""


@pytest.mark.parametrize("host", ["", "a..b", "-a", "a b", "10.0.0.0/8", "1.2.3", "a" * 64, "a." * 127 + "a", "*.a"])
def test_a_host_may_not_be(host):
    assert names.host(host)


@pytest.mark.parametrize("policy", ["default", "cluster/a:b.c-d", "a" * 256, "ruled/by"])
def test_a_policy_may_be_called(policy):
    assert names.policy(policy) == ""


@pytest.mark.parametrize("policy", ["", "/a", "-a", "a b", "a" * 257, "a\n", "a/rule/b", "a/rule"])
def test_a_policy_may_not_be_called(policy):
    assert names.policy(policy)


@pytest.mark.parametrize("name", ["s", "daily.2026-01-02_0010", "a+b:c", "a" * 255])
def test_a_snapshot_may_be_called(name):
    assert names.snapshot(name) == ""


@pytest.mark.parametrize("name", ["", ".a", "-a", "a b", "a" * 256, "a\n", "a*"])
def test_a_snapshot_may_not_be_called(name):
    assert names.snapshot(name)


@pytest.mark.parametrize(
    ("check", "longest", "of_length"),
    [
        (names.volume, 203, lambda n: "a" * n),
        (names.volume, 255 + 3, lambda n: "n" * (n - 3) + ":/a"),
        (names.junction_path, 1024, lambda n: "/" + "a" * (n - 1)),
        (names.snapshot, 255, lambda n: "a" * n),
        (names.policy, 256, lambda n: "a" * n),
        (names.host, 253, lambda n: f"{'a' * 63}." * 3 + "a" * (n - 192)),
        (names.host, 63, lambda n: "a" * n),
        (names.rule, 255, lambda n: "@" + "n" * (n - 1)),
        (v3_names.rule, 255, lambda n: "a" * n),
        (names.word, 255, lambda n: "a" * n),
        (names.policy_word, 255, lambda n: "a" * n),
        (names.comment, 1023, lambda n: "a " * (n // 2) + "a" * (n % 2)),
    ],
)
def test_each_has_a_largest_length(check, longest, of_length):
    assert (len(of_length(longest)), check(of_length(longest))) == (longest, "")
    assert check(of_length(longest + 1))


@given(st.text(max_size=40))
def test_any_text_is_checked_without_an_exception(text):
    for check in (names.volume, names.junction_path, names.snapshot, names.host, names.policy, names.rule, names.word):
        assert isinstance(check(text), str)


@given(st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,202}\Z"))
def test_every_name_of_the_contract_is_a_volume(text):
    assert names.volume(text) == ""
