"""Which variables only the process that sends webhooks gets; what is wrong in its file is for that process to say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.dev.private_environment import webhook_secrets


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('[a]\nsecret = {env = "ONE"}\n[b]\nsecret = {env = "TWO"}', {"ONE", "TWO"}),
        ('[a]\nsecret = {env = 5}\n[b]\nsecret = {env = "TWO"}', {"TWO"}),
        ('[a]\nsecret = {env = "NOT_SET"}\n[b]\nsecret = {file = "ONE"}\n[c]\nsecret = "ONE"', set()),
        ('a = 1\nsecret = {env = "ONE"}', set()),
        ("[a", set()),
        (b"\xff", set()),
        (None, set()),
    ],
)
def test_secrets_of_a_receivers_file_are_listed(
    text: str | bytes | None, names: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "webhooks.toml"
    if text is not None:
        file.write_bytes(text.encode() if isinstance(text, str) else text)
    for name in ("ONE", "TWO", "SAPI_CALLBACK_SECRET", "SAPI_SECRET_KEY"):
        monkeypatch.setenv(name, name.lower())
    monkeypatch.setenv("SAPI_WEBHOOKS_FILE", str(file))
    assert webhook_secrets(os.environ) == {name: name.lower() for name in (*names, "SAPI_CALLBACK_SECRET")}
