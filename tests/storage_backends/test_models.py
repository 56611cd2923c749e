"""How a volume is named."""

from __future__ import annotations

import pytest

from storage_backends.models import VolumePath, parse_reference


@pytest.mark.parametrize(
    ("volume", "path"),
    [
        ("home", None),
        ("home.1-2_3", None),
        ("filer01:/users/home", VolumePath("filer01", "/users/home")),
        (":/home", VolumePath("", "/home")),
        ("home:", VolumePath("home", "")),
    ],
)
def test_a_reference_is_a_name_or_a_path(volume: str, path: VolumePath | None) -> None:
    assert parse_reference(volume) == path
