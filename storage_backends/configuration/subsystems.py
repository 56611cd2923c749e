"""The configured storage systems: read from the environment, validated at once, without options' values in messages.

``SAPI_BACKENDS`` lists them as ``name🌈Class🌈option🌈value…``, separated by 🦄; ``SAPI_BACKENDS_FILE`` names a TOML
file with a table for each instead, where a secret may be ``{ file = "…" }`` or ``{ env = "…" }``. Where neither is
set, it is the file ``backends.toml`` in the folder that ``SAPI_SECRETS_DIR`` names, if it exists. No message contains
what may be a value: an unknown option is identified by its place, as a misplaced separator can make a password look
like a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Self

from storage_backends.configuration import emoji_text as subsystems_text
from storage_backends.configuration import toml_file as subsystems_file
from storage_backends.configuration.entry import ConfigurationError, Entry
from storage_backends.configuration.options import OPTIONS, OptionValue, build
from storage_backends.configuration.secret import Secret

__all__ = ["ConfigurationError", "Subsystem", "Subsystems"]

LIST_VARIABLE = "SAPI_BACKENDS"
FILE_VARIABLE = "SAPI_BACKENDS_FILE"
FOLDER_VARIABLE = "SAPI_SECRETS_DIR"
_FILE_IN_FOLDER = "backends.toml"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.IGNORECASE | re.ASCII)
#: Names of other routes beside the endpoints.
RESERVED = frozenset({"jobs", "batches", "events"})


@dataclass(frozen=True, slots=True)
class Subsystem:
    """One storage system: the name of its endpoint, its driver's class, and the driver's options."""

    name: str
    driver: str
    options: Mapping[str, OptionValue] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))


class Subsystems(Mapping[str, Subsystem]):
    """The storage systems by name, in the order of the configuration."""

    def __init__(self, subsystems: tuple[Subsystem, ...]) -> None:
        self._by_name = {subsystem.name: subsystem for subsystem in subsystems}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read and validate everything, including secrets.

        Raises:
            ConfigurationError: one line that says what to mend.
        """
        return cls(tuple(_subsystem(entry, environ) for entry in _entries(environ)))

    @staticmethod
    def names_from_environment(environ: Mapping[str, str]) -> tuple[str, ...]:
        """Read the names only, for a process that must not learn options; they, and their secrets, need not be there.

        Raises:
            ConfigurationError: one line that says what to mend.
        """
        return tuple(entry.name for entry in _entries(environ))

    @staticmethod
    def drivers_from_environment(environ: Mapping[str, str]) -> dict[str, str]:
        """Return the class of each storage system by its name; options, and their secrets, need not be there.

        Raises:
            ConfigurationError: one line that says what to mend.
        """
        return {entry.name: entry.driver for entry in _entries(environ)}

    def to_toml(self) -> str:
        """Return the text of a file for ``SAPI_BACKENDS_FILE``; it contains the secrets."""
        return subsystems_file.render(
            (subsystem.name, subsystem.driver, subsystem.options) for subsystem in self.values()
        )

    def __getitem__(self, name: str) -> Subsystem:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        return f"Subsystems({', '.join(self)})"


def _entries(environ: Mapping[str, str]) -> list[Entry]:
    """Return the configured entries, with names and classes validated."""
    text, file = environ.get(LIST_VARIABLE, ""), environ.get(FILE_VARIABLE, "")
    if text.strip() and file:
        raise ConfigurationError(f"{LIST_VARIABLE} and {FILE_VARIABLE} are both set: unset one of them")
    if not text.strip() and not file:
        file = _file_in_folder(environ)
    entries = subsystems_file.read(file, FILE_VARIABLE) if file else subsystems_text.parse(text, LIST_VARIABLE)
    if not entries:
        raise ConfigurationError(
            f"no back-end is configured: set {LIST_VARIABLE}, for example to dummy🌈DummyStorage, or {FILE_VARIABLE}"
        )
    seen: set[str] = set()
    for entry in entries:
        _check(entry, seen)
    return entries


def _file_in_folder(environ: Mapping[str, str]) -> str:
    """Return the path of the file among the secrets; empty when there is none."""
    folder = environ.get(FOLDER_VARIABLE, "")
    path = Path(folder) / _FILE_IN_FOLDER
    return str(path) if folder and path.exists() else ""


def _check(entry: Entry, seen: set[str]) -> None:
    """Raise ConfigurationError unless the entry's name and class are possible and the name is new."""
    if not _NAME.fullmatch(entry.name):
        raise ConfigurationError(
            f"{entry.place} has a bad endpoint name: it must be 1 to 63 letters, digits, '_' and '-',"
            " and begin with a letter or a digit"
        )
    if entry.driver not in OPTIONS:
        driver = f" {entry.driver}" if entry.driver.isidentifier() and entry.driver.isascii() else ""
        drivers = ", ".join(OPTIONS)
        raise ConfigurationError(f"{entry.place} has an unknown back-end class{driver}: it must be one of {drivers}")
    if entry.name.lower() in RESERVED:
        raise ConfigurationError(f"{entry.place}: {entry.name} cannot be an endpoint's name, choose another")
    if entry.name.lower() in seen:
        raise ConfigurationError(f"{entry.place}: endpoint {entry.name} is there twice, give one of them another name")
    seen.add(entry.name.lower())


def _subsystem(entry: Entry, environ: Mapping[str, str]) -> Subsystem:
    """Return the subsystem of an entry, with options validated and converted, and secrets read."""
    try:
        options = build(entry.driver, _values(entry, environ))
    except ValueError as error:
        raise ConfigurationError(f"{entry.place} ({entry.name}): {error}") from None
    return Subsystem(entry.name, entry.driver, options.model_dump(exclude_unset=True))


def _values(entry: Entry, environ: Mapping[str, str]) -> dict[str, OptionValue]:
    fields = OPTIONS[entry.driver].model_fields
    values: dict[str, OptionValue] = {}
    for number, (name, read) in enumerate(entry.read_options(), start=1):
        if name not in fields:
            raise ValueError(f"option {number} is not known; {entry.driver} takes {', '.join(fields)}")
        if name in values:
            raise ValueError(f"option {name} is there twice")
        value = read(environ)
        is_kept_apart = fields[name].annotation is Secret  # It is reread when its file is replaced.
        values[name] = value.current() if isinstance(value, Secret) and not is_kept_apart else value
    return values
