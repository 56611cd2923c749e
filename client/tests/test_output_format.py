"""The output format is that of the option, else of the environment, else of the profile."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from answering import Answering
from conftest import CommandLine


@pytest.mark.parametrize(
    ("typed", "environment", "output"),
    [
        ((), "", "name"),
        ((), "json", "[]"),
        (("-o", "table"), "json", "NAME"),
        (("-o", "table"), "", "NAME"),
    ],
)
def test_order_of_precedence(bare: CommandLine, typed: tuple[str, ...], environment: str, output: str) -> None:
    (bare.home / "storage-api").mkdir()
    profile = '[profiles.default]\nurl = "http://127.0.0.1:9"\noutput = "csv"\n'
    (bare.home / "storage-api" / "config.toml").write_text(profile)
    bare.environment = {"STORAGE_API_OUTPUT": environment}
    with patch("storage_api_client.blocking.client.Driver", Answering):
        ended = bare("subsystem", "list", *typed)
    assert (ended.status, ended.out.strip(), ended.err) == (0, output, "")
