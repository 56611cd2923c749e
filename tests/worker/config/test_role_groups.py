"""Where a provider's answer names the groups of a user."""

from __future__ import annotations

from typing import Any

import pytest

from worker.config.role_groups import groups_in


@pytest.mark.parametrize(
    ("answer", "claim", "groups"),
    [
        ({"groups": ["a", "b"]}, "groups", ("a", "b")),
        ({"groups": "a"}, "groups", ("a",)),
        ({"groups": "a b,c"}, "groups", ("a b,c",)),
        ({"groups": ["a", 1, None]}, "groups", ("a",)),
        ({"groups": []}, "groups", ()),
        ({"groups": {"a": 1}}, "groups", ()),
        ({"groups": None}, "groups", None),
        ({}, "groups", None),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", ("a",)),
        ({"realm_access": ["roles"]}, "realm_access.roles", None),
        # The name of a claim may be a URL.
        ({"https://site.example/groups": ["a"]}, "https://site.example/groups", ("a",)),
        ({"a.b": ["whole"], "a": {"b": ["nested"]}}, "a.b", ("whole",)),
    ],
)
def test_a_claim_is_a_name_or_a_path(answer: dict[str, Any], claim: str, groups: tuple[str, ...] | None):
    assert groups_in(answer, claim) == groups
