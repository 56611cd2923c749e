"""What must be changed on a volume so that it is as asked for: computed from what it is, so nothing is set twice."""

from __future__ import annotations

from typing import Any

from storage_backends.errors import FieldError, InvalidRequest
from storage_backends.models import VolumeSettings
from storage_backends.netapp.ontap.mapping import (
    BLOCK_BYTES,
    MAX_SIZE_BYTES,
    MIN_SIZE_BYTES,
    Record,
    default_maximum,
    size_with_reserve,
)

#: ONTAP's own default, said aloud so that the size can be computed from it.
DEFAULT_RESERVE_PERCENT = 5
ALL_PERCENT = 100


def invalid(pointer: str, detail: str) -> InvalidRequest:
    """An argument that can never work."""
    return InvalidRequest(detail, errors=(FieldError(pointer, detail),))


def creation(settings: VolumeSettings) -> dict[str, Any]:
    """The part of a new volume's description that its settings make; growth is on unless it is switched off.

    Raises:
        InvalidRequest: the reserve leaves no room.
    """
    reserve = settings.get("percentage_snapshot_reserve", DEFAULT_RESERVE_PERCENT)
    size = _size(settings["size_total"], reserve) if "size_total" in settings else MIN_SIZE_BYTES
    on = settings.get("autosize_enabled", True)
    autosize: dict[str, Any] = {"mode": "grow" if on else "off"}
    if on or "max_autosize" in settings:
        autosize["maximum"] = settings.get("max_autosize", default_maximum(size))
    body = {"size": size, "space": {"snapshot": {"reserve_percent": reserve}}, "autosize": autosize}
    if "active_policy_name" in settings:
        body["nas"] = {"export_policy": {"name": settings["active_policy_name"]}}
    return body


def _size(size_total: int, reserve_percent: int) -> int:
    if reserve_percent >= ALL_PERCENT:
        raise invalid("/percentage_snapshot_reserve", "The snapshot reserve leaves no room.")
    size = size_with_reserve(size_total, reserve_percent)
    if size > MAX_SIZE_BYTES:
        raise invalid("/size_total", "The size is beyond the storage system's limit.")
    return size


def changes(record: Record, settings: VolumeSettings) -> dict[str, Any]:
    """The PATCH that makes ``record`` as asked for; empty where it is so already. Every value in it is absolute."""
    parts = {
        "nas": _policy(record, settings),
        "space": _reserve(record, settings),
        "efficiency": _efficiency(record, settings),
    }
    size = _new_size(record, settings)
    parts["autosize"] = _autosize(record, settings, size)
    body: dict[str, Any] = {name: part for name, part in parts.items() if part}
    if size is not None:
        body["size"] = size
    return body


def _new_size(record: Record, settings: VolumeSettings) -> int | None:
    if "size_total" not in settings:
        return None
    reserve = settings.get("percentage_snapshot_reserve", _reserve_now(record) or 0)
    size = _size(settings["size_total"], reserve)
    now = record.get("size")
    return None if now is not None and abs(size - now) < BLOCK_BYTES else size


def _reserve_now(record: Record) -> int | None:
    found: int | None = ((record.get("space") or {}).get("snapshot") or {}).get("reserve_percent")
    return found


def _reserve(record: Record, settings: VolumeSettings) -> dict[str, Any]:
    wanted = settings.get("percentage_snapshot_reserve")
    return {} if wanted is None or wanted == _reserve_now(record) else {"snapshot": {"reserve_percent": wanted}}


def _policy(record: Record, settings: VolumeSettings) -> dict[str, Any]:
    wanted = settings.get("active_policy_name")
    now = ((record.get("nas") or {}).get("export_policy") or {}).get("name")
    return {} if wanted is None or wanted == now else {"export_policy": {"name": wanted}}


def _autosize(record: Record, settings: VolumeSettings, size: int | None) -> dict[str, Any]:
    now: Record = record.get("autosize") or {}
    patch: dict[str, Any] = {}
    is_on = now.get("mode") in {"grow", "grow_shrink"}
    on = settings.get("autosize_enabled", is_on)
    if on != is_on or ("mode" not in now and "autosize_enabled" in settings):
        patch["mode"] = "grow" if on else "off"
    maximum = settings.get("max_autosize")
    limit = now.get("maximum")
    if maximum is None and on and size is not None and limit is not None and size > limit:
        maximum = default_maximum(size)  # A volume cannot be bigger than what it may grow to.
    if maximum is not None and (limit is None or abs(maximum - limit) >= BLOCK_BYTES):
        patch["maximum"] = maximum
    return patch


def _efficiency(record: Record, settings: VolumeSettings) -> dict[str, Any]:
    if not {"compression_enabled", "inline_compression"} & settings.keys():
        return {}
    now: Record = record.get("efficiency") or {}
    compression = now.get("compression") or "none"
    background = settings.get("compression_enabled", compression in {"background", "both"})
    inline = settings.get("inline_compression", compression in {"inline", "both"})
    wanted = {(True, True): "both", (True, False): "background", (False, True): "inline"}.get(
        (background, inline), "none"
    )
    if wanted == compression:
        return {}
    if wanted == "none" or (now.get("dedupe") or "none") != "none":
        return {"compression": wanted}
    return {"compression": wanted, "dedupe": "background"}  # Compression needs deduplication to be on.
