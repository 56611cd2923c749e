"""What each driver can be told, as light data: names, types and defaults, without importing any vendor's library.

A driver is constructed as ``Driver(options, name=subsystem)``; the name of the subsystem is not an option.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any

#: What an option's value may be.
OptionValue = str | int | float | bool

_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_MEANING = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "int | str": "a whole number or text",
    "bool | str": "true, false or text",
}
MAX_VOLUMES = 200_000
MAX_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class DummyOptions:
    """What a ``DummyStorage`` can be told."""

    #: How many volumes to make up when its state is new (0 to 200,000), or the path of a JSON list of records.
    volumes: int | str = 12
    #: How long a full listing of volumes takes, in seconds, spread over its pages.
    list_latency_s: float = 0.0
    #: How long any other call takes, in seconds.
    latency_s: float = 0.0
    #: How many snapshots one volume can have.
    snapshot_limit: int = 255
    #: The folder of its state; empty: SAPI_STATE_DIR, or ``.dev/state``.
    state_dir: str = ""
    #: The path of a file; while that exists, every call is refused with ``BackendUnavailable`` before anything is done.
    away_file: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.volumes, int) and not 0 <= self.volumes <= MAX_VOLUMES:
            raise ValueError(f"volumes must be 0 to {MAX_VOLUMES}, or the path of a JSON file")
        if isinstance(self.volumes, str) and not Path(self.volumes).is_file():
            raise ValueError("volumes must be a whole number or the path of a JSON file that is there")
        for name in ("list_latency_s", "latency_s", "snapshot_limit"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetappOptions:
    """What a ``NetappStorage`` can be told."""

    #: The account that signs in to ONTAP's REST interface.
    username: str
    #: Its password.
    password: str = field(repr=False)
    #: The storage virtual machine whose volumes these are.
    vserver: str
    #: The management host; empty: the vserver's name.
    hostname: str = ""
    #: The port there.
    port: int = 443
    #: ``https``, or ``http`` for a simulator.
    scheme: str = "https"
    #: Check the filer's certificate; or the path of the authorities' certificates to check it with.
    verify: bool | str = True
    #: How long one HTTP request may take, in seconds.
    timeout_s: float = 30.0
    #: How many requests one process has under way at a time.
    max_connections: int = 8
    #: Names of volume fields to leave out of queries on old releases, comma separated.
    fields: str = ""

    def __post_init__(self) -> None:
        for name in ("username", "password", "vserver"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        if not 1 <= self.port <= MAX_PORT:
            raise ValueError(f"port must be 1 to {MAX_PORT}")
        if self.scheme not in {"http", "https"}:
            raise ValueError("scheme must be http or https")
        for name in ("timeout_s", "max_connections"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be more than 0")


Options = DummyOptions | NetappOptions

#: The options of each driver, by its class name.
OPTIONS: dict[str, type[Options]] = {"DummyStorage": DummyOptions, "NetappStorage": NetappOptions}


def declared(driver: str) -> dict[str, Field[object]]:
    """Return what the driver can be told, by name."""
    return {option.name: option for option in fields(OPTIONS[driver])}


def convert(option: Field[object], value: OptionValue) -> OptionValue:
    """Return a value as its option's type; text may stand for a number or a flag.

    Raises:
        ValueError: it cannot; the message tells what is expected, never the value.
    """
    kind = str(option.type)
    for candidate in kind.split(" | "):
        converted = _CONVERTERS[candidate](value)
        if converted is not None:
            # Blanks at the ends of a secret are part of it; elsewhere they come from how the text was laid out.
            return converted.strip() if isinstance(converted, str) and option.repr else converted
    raise ValueError(f"{option.name} must be {_MEANING[kind]}")


def build(driver: str, values: Mapping[str, OptionValue]) -> Options:
    """Return the driver's options.

    Raises:
        ValueError: one is missing, unknown or impossible; the message never holds a value.
    """
    known = declared(driver)
    if missing := [name for name, option in known.items() if option.default is MISSING and name not in values]:
        raise ValueError(f"{', '.join(missing)} must be given")
    if values.keys() - known.keys():
        raise ValueError(f"an option is not known; {driver} takes {', '.join(known)}")
    # Any: that each value is of its option's type is what convert sees to.
    given: dict[str, Any] = {name: convert(known[name], value) for name, value in values.items()}
    return OPTIONS[driver](**given)


def _to_text(value: OptionValue) -> str | None:
    return value if isinstance(value, str) else None


def _to_int(value: OptionValue) -> int | None:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _to_float(value: OptionValue) -> float | None:
    try:
        number = None if isinstance(value, bool) else float(value)
    except (ValueError, OverflowError):
        return None
    return number if number is not None and math.isfinite(number) else None


def _to_flag(value: OptionValue) -> bool | None:
    return _FLAGS.get(value.strip().lower()) if isinstance(value, str) else value if isinstance(value, bool) else None


_CONVERTERS = {"str": _to_text, "int": _to_int, "float": _to_float, "bool": _to_flag}
