"""Computes the PATCH of a volume from its present and requested settings, so that equal values are not sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from storage_backends.errors import FieldError, InvalidRequest, NotSupported, StorageError
from storage_backends.models import Volume, VolumeSettings
from storage_backends.netapp.ontap import mapping
from storage_backends.netapp.ontap.error_codes import names_unknown_field
from storage_backends.netapp.ontap.fields import Fields, Record
from storage_backends.netapp.ontap.mapping import (
    BLOCK_BYTES,
    MAX_SIZE_BYTES,
    MIN_SIZE_BYTES,
    default_maximum,
    size_with_reserve,
)
from storage_backends.netapp.ontap.owner_comments import literal_comment

#: ONTAP's own default, sent explicitly so that the size can be computed from it.
DEFAULT_RESERVE_PERCENT = 5
ALL_PERCENT = 100
Refusal = TypeVar("Refusal", InvalidRequest, NotSupported)
#: Our settings that correspond to one field of ONTAP.
_FIELDS: Mapping[str, str] = {
    "active_policy_name": "nas.export_policy.name",
    "security_style": "nas.security_style",
    "unix_permissions": "nas.unix_permissions",
    "snapshot_policy": "snapshot_policy.name",
    "space_guarantee": "guarantee.type",
    "qos_policy": "qos.policy.name",
    "tiering_policy": "tiering.policy",
    "comment": "comment",
}
#: ONTAP's value for no QoS policy.
NO_QOS_POLICY = "none"


def invalid(pointer: str, detail: str) -> InvalidRequest:
    """Return the error for an argument that can never work."""
    return InvalidRequest(detail, errors=(FieldError(pointer, detail),))


def not_supported(refusal: InvalidRequest, settings: VolumeSettings) -> InvalidRequest | NotSupported:
    """Return the refusal of a change: ``not-supported`` if the filer's release lacks a field, else unchanged."""
    if not names_unknown_field(refusal) or refusal.backend_error is None:
        return refusal
    words = refusal.backend_error.message
    for setting, field in _FIELDS.items():
        if setting in settings and (f'"{field}"' in words or f"'{field}'" in words):
            if refusal.backend_error.code in _VALUE_REFUSED:
                return _of(invalid(f"/{setting}", "The storage system does not accept the value."), refusal)
            return _of(_unsupported_by_release(setting), refusal)
    return refusal


#: The code for a wrong value, rather than a wrong field.
_VALUE_REFUSED = frozenset({"262197"})


def require_supported(settings: VolumeSettings, unknown_fields: frozenset[str]) -> None:
    """Raise NotSupported if the filer does not know a setting's field."""
    for setting in settings:
        if _FIELDS.get(setting) in unknown_fields:
            raise _unsupported_by_release(setting)


def _unsupported_by_release(setting: str) -> NotSupported:
    detail = f"This storage system's release cannot set {setting}."
    return NotSupported(detail, errors=(FieldError(f"/{setting}", detail),))


def _of(error: Refusal, refusal: InvalidRequest) -> Refusal:
    error.backend_error = refusal.backend_error
    return error


def creation(settings: VolumeSettings) -> dict[str, Any]:
    """Return the settings' part of the body for a new volume; autosize is on by default.

    Raises:
        InvalidRequest: the snapshot reserve leaves no space.
    """
    reserve = settings.get("percentage_snapshot_reserve", DEFAULT_RESERVE_PERCENT)
    size = _size(settings["size_total"], reserve) if "size_total" in settings else MIN_SIZE_BYTES
    on = settings.get("autosize_enabled", True)
    autosize: dict[str, Any] = {"mode": "grow" if on else "off"}
    if on or "max_autosize" in settings:
        autosize["maximum"] = settings.get("max_autosize", default_maximum(size))
    body = {"size": size, "space": {"snapshot": {"reserve_percent": reserve}}, "autosize": autosize}
    for setting, field in _FIELDS.items():
        if setting in settings and settings.get(setting) != _absent(setting):
            _put(body, field, _as_ontap(setting, settings.get(setting)))
    return body


def _absent(setting: str) -> str | None:
    return NO_QOS_POLICY if setting == "qos_policy" else None


def _size(size_total: int, reserve_percent: int) -> int:
    if reserve_percent >= ALL_PERCENT:
        raise invalid("/percentage_snapshot_reserve", "The snapshot reserve leaves no room.")
    size = size_with_reserve(size_total, reserve_percent)
    if size > MAX_SIZE_BYTES:
        raise invalid("/size_total", "The size is beyond the storage system's limit.")
    return size


def changes(record: Record, settings: VolumeSettings) -> dict[str, Any]:
    """Return the PATCH for the requested settings; empty if ``record`` has them already. All values are absolute."""
    parts = {"space": _reserve(record, settings), "efficiency": _efficiency(record, settings)}
    size = _new_size(record, settings)
    parts["autosize"] = _autosize(record, settings, size)
    body: dict[str, Any] = {name: part for name, part in parts.items() if part}
    if size is not None:
        body["size"] = size
    now = mapping.volume(record)
    for setting, field in _FIELDS.items():
        if setting in settings and not _has_value(now, setting, settings.get(setting)):
            _put(body, field, _as_ontap(setting, settings.get(setting)))
    return body


def _has_value(now: Volume, setting: str, value: Any) -> bool:
    present = getattr(now, setting)
    return present == value or (present is None and value == _absent(setting))


def _as_ontap(setting: str, value: Any) -> Any:
    if setting == "unix_permissions":
        return int(value)  # ONTAP has the octal digits as a decimal number.
    if setting == "comment":
        return literal_comment(value)
    return value.replace("-", "_") if setting == "tiering_policy" else value


def _put(body: dict[str, Any], field: str, value: Any) -> None:
    *objects, last = field.split(".")
    for name in objects:
        body = body.setdefault(name, {})
    body[last] = value


def _new_size(record: Record, settings: VolumeSettings) -> int | None:
    if "size_total" not in settings:
        return None
    reserve = settings.get("percentage_snapshot_reserve", _reserve_now(record))
    if reserve is None:
        raise StorageError("The storage system does not tell the snapshot reserve, so that no size can be computed.")
    size = _size(settings["size_total"], reserve)
    now = Fields(record).number("size")
    return None if now is not None and abs(size - now) < BLOCK_BYTES else size


def _reserve_now(record: Record) -> int | None:
    return Fields(record).number("space.snapshot.reserve_percent")


def _reserve(record: Record, settings: VolumeSettings) -> dict[str, Any]:
    percentage = settings.get("percentage_snapshot_reserve")
    return (
        {}
        if percentage is None or percentage == _reserve_now(record)
        else {"snapshot": {"reserve_percent": percentage}}
    )


def _autosize(record: Record, settings: VolumeSettings, size: int | None) -> dict[str, Any]:
    mode, limit = Fields(record).text("autosize.mode"), Fields(record).number("autosize.maximum")
    patch: dict[str, Any] = {}
    is_on = mode in {"grow", "grow_shrink"}
    on = settings.get("autosize_enabled", is_on)
    if on != is_on or (mode is None and "autosize_enabled" in settings):
        patch["mode"] = "grow" if on else "off"
    maximum = settings.get("max_autosize")
    if maximum is None and on and size is not None and limit is not None and size > limit:
        maximum = default_maximum(size)  # A volume cannot be bigger than its autosize limit.
    if maximum is not None and (limit is None or abs(maximum - limit) >= BLOCK_BYTES):
        patch["maximum"] = maximum
    return patch


def _efficiency(record: Record, settings: VolumeSettings) -> dict[str, Any]:
    if not {"compression_enabled", "inline_compression"} & settings.keys():
        return {}
    compression = Fields(record).text("efficiency.compression") or "none"
    background = settings.get("compression_enabled", compression in {"background", "both"})
    inline = settings.get("inline_compression", compression in {"inline", "both"})
    mode = {(True, True): "both", (True, False): "background", (False, True): "inline"}.get(
        (background, inline), "none"
    )
    if mode == compression:
        return {}
    if mode == "none" or (Fields(record).text("efficiency.dedupe") or "none") != "none":
        return {"compression": mode}
    return {"compression": mode, "dedupe": "background"}  # Compression needs deduplication to be on.
