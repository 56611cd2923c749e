"""What a client has of its arguments, and one made from the environment of the profile."""

from __future__ import annotations

import asyncio
import re
from dataclasses import fields
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock, call, patch

import pytest

from flows import run
from storage_api_client import AsyncClient, Client
from storage_api_client.configuration.files import ConfigurationError, Profile, read_profile
from storage_api_client.protocol.retries import Anonymous

_PROFILE = 'default_profile = "test"\n[profiles.test]\nurl = "http://127.0.0.1:9"\nca_file = "/ca.pem"\ntimeout = 7.5\n'


_KINDS = pytest.mark.parametrize(
    ("kind", "driver"), [(Client, "blocking.client.Driver"), (AsyncClient, "aio.client.AsyncDriver")]
)


async def _used(client: Client | AsyncClient) -> None:
    """Use a client in its ``with`` block."""
    if isinstance(client, Client):
        with client as entered:
            assert entered is client
        return
    async with client as also_entered:
        assert also_entered is client


@_KINDS
def test_every_argument_is_used(kind: type[Client | AsyncClient], driver: str) -> None:
    credentials, url = Anonymous(), "http://127.0.0.1:9"
    with patch(f"storage_api_client.{driver}") as made:
        client = kind(f"{url}/", credentials=credentials, timeout=3.5, ca_file="/ca.pem", notify=print)
        arguments: list[dict[str, Any]] = [{"token": "t"}, {"basic": ("u", "p")}, {}]
        contexts = [kind(url, **each)._executor.context for each in arguments]
        close = made.return_value.aclose = made.return_value.close = AsyncMock() if kind is AsyncClient else Mock()
        asyncio.run(_used(client))
    close.assert_called_once_with()
    assert made.call_args_list == [call(url, "/ca.pem"), *[call(url, None)] * 3]
    context = client._executor.context
    assert (context.credentials, context.notify, client._executor.timeout) == (credentials, print, 3.5)
    assert [run(each.credentials.headers())[0] for each in contexts] == [
        {"Authorization": "Bearer t"}, {"Authorization": "Basic dTpw"}, {},
    ]  # fmt: skip


@_KINDS
def test_settings_are_those_of_the_profile(
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


@pytest.mark.parametrize("name", [field.name for field in fields(Profile) if field.name != "name"])
def test_each_member_of_a_profile_has_its_type(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "storage-api").mkdir()
    file = tmp_path / "storage-api" / "config.toml"
    texts = ("7", '"7"')
    right, wrong = texts if name == "timeout" else reversed(texts)
    file.write_text(f"[profiles.p]\n{name} = {right}\n")
    assert getattr(read_profile("p"), name) == (7 if name == "timeout" else "7")
    file.write_text(f"[profiles.p]\n{name} = {wrong}\n")
    with pytest.raises(ConfigurationError, match=f"{name} of \\[profiles.p\\] must be a"):
        read_profile("p")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("[profiles", "cannot be read"),
        ("profiles = 1", "write profiles as"),
        ("default_profile = 1", "write profiles as"),
        ("[profiles]\np = 1", "must be a table"),
        ("[profiles.p]\ntoken = 't'", "has 'token'; it may have audience, ca_file"),
    ],
)
def test_a_file_that_is_wrong_is_named(
    text: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "storage-api" / "config.toml"
    file.mkdir(parents=True)
    if text is not None:
        file.rmdir()
        file.write_text(text)
    with pytest.raises(ConfigurationError, match=f"{re.escape(str(file))}.*{words}"):
        read_profile(None if text == "default_profile = 1" else "p")
