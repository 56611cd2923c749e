"""``config.toml`` in the user's configuration folder, and the folder itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_APPLICATION = "storage-api"


class ConfigurationError(Exception):
    """There is no address of a service, or a file is wrong; the message is a sentence that says what to do."""


def folder() -> Path:
    """Return the user's configuration folder."""
    return Path(platformdirs.user_config_dir(_APPLICATION))


@dataclass(frozen=True)
class Profile:
    """One table ``[profiles.NAME]``: where a service is, and how to sign in there."""

    name: str
    url: str | None = None
    output: str | None = None
    ca_file: str | None = None
    issuer: str | None = None
    client_id: str | None = None
    scope: str | None = None
    audience: str | None = None
    timeout: float | None = None


DEFAULT = "default"


def read_profile(name: str | None) -> Profile:
    """Return a profile, by name, or the one that ``default_profile`` names.

    Raises:
        ConfigurationError: there is none of this name, or the file is wrong.
    """
    path = folder() / "config.toml"
    document = _document(path)
    chosen = name or document.get("default_profile") or DEFAULT
    profiles = document.get("profiles", {})
    if not isinstance(profiles, Mapping) or not isinstance(chosen, str):
        raise ConfigurationError(f"{path}: write profiles as [profiles.NAME]")
    if chosen not in profiles:
        return Profile(chosen)
    return _profile(chosen, profiles[chosen], path)


def _document(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    return document


def _profile(name: str, table: object, path: Path) -> Profile:
    allowed = Profile.__dataclass_fields__.keys() - {"name"}
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{path}: [profiles.{name}] must be a table")
    if unknown := sorted(set(table) - allowed):
        raise ConfigurationError(
            f"{path}: [profiles.{name}] has {unknown[0]!r}; it may have {', '.join(sorted(allowed))}"
        )
    for key, value in table.items():
        if not isinstance(value, (int, float) if key == "timeout" else str):
            raise ConfigurationError(
                f"{path}: {key} of [profiles.{name}] must be a {'number' if key == 'timeout' else 'text'}"
            )
    return Profile(name, **table)
