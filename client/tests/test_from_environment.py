"""What a client made from the environment has of the profile."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from storage_api_client import AsyncClient, Client

_PROFILE = 'default_profile = "test"\n[profiles.test]\nurl = "http://127.0.0.1:9"\nca_file = "/ca.pem"\ntimeout = 7.5\n'


@pytest.mark.parametrize(
    ("kind", "driver"), [(Client, "blocking.client.Driver"), (AsyncClient, "aio.client.AsyncDriver")]
)
def test_it_has_what_the_profile_says(
    kind: type[Client | AsyncClient], driver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "storage-api").mkdir()
    (tmp_path / "storage-api" / "config.toml").write_text(_PROFILE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("STORAGE_API_TOKEN", "t")
    for variable in ("STORAGE_API_URL", "STORAGE_API_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    with patch(f"storage_api_client.{driver}") as made:
        client = kind.from_environment()
        shorter = kind.from_environment("test", timeout=0)
    assert made.call_args == ((client.url, "/ca.pem"), {})
    assert client.url == "http://127.0.0.1:9"
    assert (client._executor.timeout, shorter._executor.timeout) == (7.5, 0)
    assert client._executor.context.credentials._headers == {"Authorization": "Bearer t"}  # type: ignore[attr-defined]
