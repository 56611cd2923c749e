"""The list of storage systems in a TOML file: a table for each, secrets in files or variables of their own."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from storage_backends.configuration.entry import ConfigurationError, Entry, ReadValue
from storage_backends.configuration.options import OptionValue
from storage_backends.configuration.secret import Secret, UnreadableSecretFile

#: Characters that must be escaped in a TOML string.
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f]')


def read(path: str, variable: str) -> list[Entry]:
    """Return the entries of a file; secrets are not read yet.

    Raises:
        ConfigurationError: it cannot be read, or is not a table for each storage system.
    """
    tables = _load(path, variable)
    return [_entry(name, table, Path(path).parent, variable) for name, table in tables.items()]


def render(subsystems: Iterable[tuple[str, str, Mapping[str, OptionValue]]]) -> str:
    """Return the text of a file that ``read`` reads as these names, classes and options.

    Raises:
        ConfigurationError: a value is not valid Unicode text, which no TOML file can hold.
    """
    tables = []
    for name, driver, options in subsystems:
        lines = [f"{key} = {_literal(value)}" for key, value in {"driver": driver, **options}.items()]
        tables.append("\n".join([f"[{_literal(name)}]", *lines, ""]))
    text = "\n".join(tables)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigurationError("an option of a back-end is not valid Unicode text: write it anew") from None
    return text


def _load(path: str, variable: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"the file that {variable} names cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        # Only the place: the parser's message may quote the text.
        place = re.search(r"\(at [^()]*\)$", str(error))
        raise ConfigurationError(
            f"the file that {variable} names is not TOML {place[0] if place else ''}".strip()
        ) from None
    except ValueError:
        raise ConfigurationError(f"the file that {variable} names is not UTF-8 text") from None


def _entry(name: str, table: Any, folder: Path, variable: str) -> Entry:
    # The name is not checked yet, and a key at the top may be a misplaced option: its value is never shown.
    place = f"table {name!r} of {variable}"
    if not isinstance(table, dict):
        raise ConfigurationError(f"{variable}: {name!r} stands outside a table: put it below its back-end's [name]")
    driver = table.get("driver")
    if not isinstance(driver, str):
        raise ConfigurationError(f'{place} has no class: add a line such as driver = "DummyStorage"')
    options = {key: value for key, value in table.items() if key != "driver"}
    return Entry(place, name, driver, partial(_options, options, folder))


def _options(options: Mapping[str, Any], folder: Path) -> list[tuple[str, ReadValue]]:
    return [(name, partial(_value, name, value, folder)) for name, value in options.items()]


def _value(name: str, value: Any, folder: Path, environ: Mapping[str, str]) -> OptionValue:
    """Return an option's value, read from its file or variable where it names one."""
    match value:
        case str() | bool() | int() | float():
            return value
        case {"file": str(path), **others} if not others:
            return _from_file(name, folder / path)
        case {"env": str(variable), **others} if not others:
            if variable not in environ:
                raise ValueError(f"the environment variable for {name} is not set")
            return environ[variable]
    raise ValueError(f'{name} must be a plain value, {{ file = "…" }} or {{ env = "…" }}')


def _from_file(name: str, path: Path) -> Secret:
    try:
        return Secret.from_file(path)
    except UnreadableSecretFile as error:
        raise ValueError(f"the file for {name} cannot be read: {error}") from None


def _literal(value: OptionValue) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Secret(file=Path() as file):
            return f"{{ file = {_literal(str(file))} }}"
        case Secret():
            return _literal(value.current())
        case str():
            return '"' + _ESCAPED.sub(lambda control: f"\\u{ord(control[0]):04x}", value) + '"'
    return repr(value)
