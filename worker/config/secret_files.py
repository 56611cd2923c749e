"""Secrets from files: with ``SAPI_REDIS_URL_FILE=/run/secrets/redis``, ``SAPI_REDIS_URL`` is read from that file.

``SAPI_SECRETS_DIR`` names a folder of such files, as containers have them: ``redis_url`` in it is read where
neither of these variables is set.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

_SUFFIX = "_FILE"
_FOLDER_VARIABLE = "SAPI_SECRETS_DIR"


class SecretFilesSource(PydanticBaseSettingsSource):
    """For each ``SecretStr`` field, the content of the file that its variable with ``_FILE`` added names.

    Where neither is set, it is the file of the field's name in the folder of secrets, if there is one. White space
    around the secret is removed: editors and ``echo`` end files with a newline. Setting both variables is an
    error.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        for variable in self._variables(field, field_name):
            path = os.environ.get(variable + _SUFFIX)
            if path:
                return self._read(variable, path), self._key(field, field_name), False
        return self._from_folder(field, field_name), self._key(field, field_name), False

    def __call__(self) -> dict[str, Any]:
        secrets: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            if not _is_secret(field):
                continue
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                secrets[key] = value
        return secrets

    def _read(self, variable: str, path: str) -> str:
        if os.environ.get(variable):
            raise UnreadableSecret(f"{variable} and {variable}{_SUFFIX} are both set: unset one of them")
        return _content(Path(path), f"{variable}{_SUFFIX}")

    def _from_folder(self, field: FieldInfo, field_name: str) -> str | None:
        folder = os.environ.get(_FOLDER_VARIABLE)
        if not folder or any(os.environ.get(variable) for variable in self._variables(field, field_name)):
            return None
        path = Path(folder) / field_name
        return _content(path, _FOLDER_VARIABLE) if path.exists() else None

    def _variables(self, field: FieldInfo, field_name: str) -> Iterable[str]:
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            return [choice for choice in alias.choices if isinstance(choice, str)]
        if isinstance(alias, str):
            return [alias]
        return [f"{self.config.get('env_prefix', '')}{field_name}".upper()]

    def _key(self, field: FieldInfo, field_name: str) -> str:
        """The key that pydantic expects: the alias, where there is one."""
        return field_name if field.validation_alias is None else next(iter(self._variables(field, field_name)))


class UnreadableSecret(Exception):
    """A secret's file cannot be read, or the secret is given twice; the message is one line that says which."""


class SecretFiles(BaseSettings):
    """Base class of settings ``SAPI_<NAME>``, whose secrets may be in files; an empty variable is not set."""

    model_config = SettingsConfigDict(
        env_prefix="SAPI_", frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, SecretFilesSource(settings_cls)


def _content(path: Path, variable: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is no UTF-8 text"
        raise UnreadableSecret(f"{variable}: cannot read {path}: {reason}") from None


def _is_secret(field: FieldInfo) -> bool:
    return field.annotation is SecretStr or SecretStr in getattr(field.annotation, "__args__", ())
