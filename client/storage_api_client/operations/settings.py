"""What can be chosen for a volume: the keyword arguments of ``create``, ``clone`` and ``update``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from storage_api_client.protocol.changes import Options
from storage_api_client.protocol.polling import ProgressCallback
from storage_api_client.sizes import parse_size

_SIZES = ("size_total", "max_autosize")
_OPTIONS = ("timeout", "idempotency_key", "on_progress", "callback_url")


class ChangeOptions(TypedDict, total=False):
    """What every change takes.

    Attributes:
        timeout: seconds after which nobody waits any longer.
        idempotency_key: sent with every try.
        on_progress: called with the job each time that it has changed.
        callback_url: gets a webhook when the job ends, where the service allows it.
    """

    timeout: float
    idempotency_key: str
    on_progress: ProgressCallback
    callback_url: str


class VolumeChanges(ChangeOptions, total=False):
    """What can be changed of a volume; sizes in bytes or as "10GiB"."""

    size_total: int | str
    autosize_enabled: bool
    max_autosize: int | str
    active_policy_name: str
    percentage_snapshot_reserve: int
    compression_enabled: bool
    inline_compression: bool
    caching_policy: str
    snapshot_policy: str
    security_style: str
    unix_permissions: str
    space_guarantee: str
    qos_policy: str
    tiering_policy: str
    comment: str


class NewVolume(VolumeChanges, total=False):
    """What can be chosen for a new volume; ``name`` only where it is created by ``node:/junction/path``."""

    name: str
    aggregate_name: str
    junction_path: str


class CloneSettings(ChangeOptions, total=False):
    """What a clone may have of its own."""

    name: str
    junction_path: str
    active_policy_name: str
    size_total: int | str


def split(more: Mapping[str, Any]) -> tuple[dict[str, Any], Options]:
    """Return the settings, as the API wants them, and the options of a call's keyword arguments."""
    settings = {name: value for name, value in more.items() if name not in _OPTIONS and value is not None}
    for name in _SIZES:
        if name in settings:
            settings[name] = parse_size(settings[name])
    return settings, options(more)


def options(more: Mapping[str, Any]) -> Options:
    """Return the options of a call's keyword arguments."""
    callback: str | None = more.get("callback_url")
    progressed: Callable[..., None] | None = more.get("on_progress")
    headers = {"Callback-URL": callback} if callback else None
    return Options(more.get("timeout"), more.get("idempotency_key"), progressed, headers)
