"""Receivers of webhooks, from a TOML file."""

from __future__ import annotations

import base64
import binascii
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.catalog.operations import BATCH, OPERATIONS
from worker.config.callback_hosts import target_of
from worker.config.settings import BadSettings
from worker.jobs.query import JobFilter
from worker.jobs.record import Job, State
from worker.webhooks.settings import WebhookSettings

#: The final state of each event.
EVENTS = {f"job.{state}": state for state in State if state.done}
_TEXTS = ("subsystem", "volume", "batch", "requested_by")
_VARIABLE = "SAPI_WEBHOOKS_FILE"
_IN_SECRETS = "webhooks.toml"


@dataclass(frozen=True, slots=True)
class Receiver:
    """One receiver that the operator has configured."""

    name: str
    url: str
    secret: str = field(repr=False)
    events: frozenset[str] = frozenset(EVENTS)
    job_filter: JobFilter = field(default_factory=JobFilter)

    def is_notified_of(self, job: Job) -> bool:
        """Is it notified of the end of this job?"""
        return f"job.{job.state}" in self.events and self.job_filter.matches(job)


def read_receivers(settings: WebhookSettings, environ: Mapping[str, str] = os.environ) -> dict[str, Receiver]:
    """Return the receivers by name.

    Raises:
        BadSettings: one line that says what to mend.
    """
    path = _file(settings.webhooks_file, environ)
    if path is None:
        return {}
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadSettings(f"{_VARIABLE}: the file cannot be read: {error.strerror}") from None
    except ValueError:
        raise BadSettings(f"{_VARIABLE}: the file is not TOML") from None
    return {name: _receiver(name, table, path.parent, environ) for name, table in tables.items()}


def _file(file_name: str, environ: Mapping[str, str]) -> Path | None:
    """Return the file that the variable names, or else the one in the folder of secrets, if it exists."""
    if file_name:
        return Path(file_name)
    folder = environ.get("SAPI_SECRETS_DIR", "")
    path = Path(folder) / _IN_SECRETS
    return path if folder and path.exists() else None


def check_secret(secret: str, whose: str) -> str:
    """Validate one or several secrets, separated by white space, and return them.

    Raises:
        BadSettings: one is not valid.
    """
    for part in secret.split() or [""]:
        _check_one(part, whose)
    return secret


def _check_one(secret: str, whose: str) -> None:
    try:
        text = secret.removeprefix("whsec_")
        # Strictly: characters of another alphabet would be left out, and a receiver that reads them has another key.
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        key = b""
    if not 24 <= len(key) <= 64:  # noqa: PLR2004 - as the specification asks
        raise BadSettings(f"{whose}: the secret must be whsec_ and 24 to 64 bytes in base64")


def _receiver(name: str, table: Any, folder: Path, environ: Mapping[str, str]) -> Receiver:
    place = f"table {name!r} of {_VARIABLE}"
    if not isinstance(table, dict):
        raise BadSettings(f"{_VARIABLE}: {name!r} stands outside a table: put it below its receiver's [name]")
    if not all(character.isalnum() or character in "_-" for character in name) or not 0 < len(name) < 64:  # noqa: PLR2004
        raise BadSettings(f"{place}: the name must be 1 to 63 letters, digits, - and _")
    unknown = set(table) - {"url", "secret", "events", "state", "operation", *_TEXTS}
    if unknown:
        raise BadSettings(f"{place}: unknown option {min(unknown)!r}")
    url = _text(place, table, "url")
    try:
        target_of(url)
    except ValueError:
        raise BadSettings(f"{place}: url must be https://… (or http://…), without user and fragment") from None
    return Receiver(
        name,
        url,
        check_secret(_secret(place, table.get("secret"), folder, environ), place),
        _events(place, table),
        _filter(place, table),
    )


def _filter(place: str, table: Mapping[str, Any]) -> JobFilter:
    texts: dict[str, Any] = {option: _text(place, table, option) for option in _TEXTS if option in table}
    if "operation" in table:
        texts["operations"] = _names(place, table, "operation", (*OPERATIONS, BATCH.name))
    return JobFilter(**texts)


def _names(place: str, table: Mapping[str, Any], option: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the names, separated by commas, that an option has; all of them must be known."""
    names = tuple(name.strip() for name in _text(place, table, option).split(","))
    unknown = set(names).difference(known)
    if unknown:
        raise BadSettings(f"{place}: {option}: there is none called {min(unknown)!r}")
    return names


def _text(place: str, table: Mapping[str, Any], option: str) -> str:
    value = table.get(option)
    if not isinstance(value, str) or not value:
        raise BadSettings(f"{place}: {option} must be text")
    return value


def _events(place: str, table: Mapping[str, Any]) -> frozenset[str]:
    """Return the events of a receiver: its ``events``, restricted by ``state`` (as in the job list)."""
    events = table.get("events", list(EVENTS))
    if not isinstance(events, list) or not events or not EVENTS.keys() >= set(map(str, events)):
        raise BadSettings(f"{place}: events must be a list of {', '.join(EVENTS)}")
    states = _names(place, table, "state", State) if "state" in table else tuple(State)
    chosen = frozenset(event for event in events if EVENTS[event] in states)
    if not chosen:
        raise BadSettings(f"{place}: events and state leave nothing to be sent")
    return chosen


def _secret(place: str, value: Any, folder: Path, environ: Mapping[str, str]) -> str:
    match value:
        case {"file": str(path), **others} if not others:
            try:
                return (folder / path).read_text("utf-8").strip()
            except (OSError, ValueError):
                raise BadSettings(f"{place}: the file of the secret cannot be read") from None
        case {"env": str(variable), **others} if not others:
            if variable not in environ:
                raise BadSettings(f"{place}: the environment variable of the secret is not set")
            return environ[variable]
    raise BadSettings(f'{place}: secret must be {{ file = "…" }} or {{ env = "…" }}')
