"""The console's words for operations, fields and problems; what is not listed keeps its own name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Labels of fields that are not just the field's name with blanks.
_FIELDS = {
    "size_total": "Size",
    "size_used": "Used",
    "aggregate_name": "Aggregate",
    "active_policy_name": "Export policy",
    "percentage_snapshot_reserve": "Snapshot reserve (%)",
    "percentage_snapshot_reserve_used": "Snapshot reserve used (%)",
    "max_autosize": "Grows up to",
    "autosize_enabled": "Grows by itself",
    "compression_enabled": "Compression",
    "uuid": "UUID",
    "filer_address": "Address",
    "creation_time": "Created",
    "qos_policy": "QoS policy",
    "unix_permissions": "Unix permissions",
}
_OPERATIONS = {
    "reinstate_volume": "Bring volume back",
    "ensure_policy_rule_present": "Add export rule",
    "ensure_policy_rule_absent": "Remove export rule",
    "list_policies": "List export policies",
    "get_policy": "Get export policy",
    "create_policy": "Create export policy",
    "delete_policy": "Delete export policy",
}
#: What to do about a failed job, by its problem's code.
_NEXT_STEPS = {
    "outcome-unknown": "Nobody can tell whether the change was made. Look at the storage system before you repeat it.",
    "worker-lost": "The change was not made. “Retry” submits it once more.",
    "already-exists": "Choose another name, or use what is there.",
    "no-such-volume": "Look for the volume under its present name; it may have been taken out of service.",
    "no-such-snapshot": "Choose one of the snapshots on the volume's page.",
    "no-such-policy": "Choose an export policy that exists, or create this one first.",
    "lock-held": "Ask whoever uses the host that holds the lock, or have an UBER_ADMIN remove the lock.",
    "policy-in-use": "Give its volumes another export policy first.",
    "too-many-snapshots": "Delete a snapshot first, or let the oldest one be deleted when you take the next.",
    "not-a-data-volume": "It is a copy or a root volume, which is never changed here.",
    "not-supported": "This storage system cannot do it.",
    "validation-failed": "Correct what is said above, and submit it anew.",
    "batch-failed": "See below which members failed. “Retry” makes a new batch of those that did not succeed.",
    "backend-unavailable": "Nothing was changed. Retry when the storage system answers again (see the overview).",
    "timed-out": "Look at the storage system, then retry.",
}
_WAITING = {
    "behind-jobs": "It waits for the jobs before it: one volume is changed by one job at a time.",
    "no-worker-online": "No worker serves this queue at present: an operator has to start one.",
    "backend-unavailable": "The storage system cannot be reached; the job is tried again by itself.",
    "retrying": "A passing error put it off; it is tried again by itself.",
}


def field_label(name: str) -> str:
    """Return the heading of a field."""
    return _FIELDS.get(name) or name.replace("_", " ").capitalize()


def operation_label(name: str) -> str:
    """Return an operation in words, such as `Create snapshot`."""
    return _OPERATIONS.get(name) or name.replace("_", " ").capitalize()


def next_step(error: Mapping[str, Any]) -> str:
    """Return what to do about a job's error."""
    step = _NEXT_STEPS.get(str(error.get("code")))
    if step:
        return step
    if error.get("retryable"):
        return "The same may succeed later: use “Retry”."
    return "Correct what is said above, and submit it anew: repeating it unchanged will fail again."


def waiting_words(reason: str | None) -> str:
    """Return why a queued job waits, by its waiting reason."""
    return _WAITING.get(reason or "", "It starts as soon as a worker takes it.")


def subject(job: Mapping[str, Any]) -> dict[str, str]:
    """Return what a job is about: ``text``, ``kind`` and ``href`` of its page (empty: it has none)."""
    request, system = job.get("request") or {}, job.get("subsystem") or ""
    for kind, page in (("volume", "volumes"), ("policy", "export")):
        if request.get(kind) and system:
            return {"kind": kind, "text": str(request[kind]), "page": "" if _is_gone(job) else page, "system": system}
    if job.get("operation") == "batch":
        return {"kind": "batch", "text": str(request.get("name") or ""), "page": "", "system": system}
    return {"kind": "system", "text": system, "page": "", "system": system}


def _is_gone(job: Mapping[str, Any]) -> bool:
    """Is what the job was about no longer there, or never was?"""
    if job.get("state") == "succeeded":
        return job.get("operation") in ("restrict_volume", "delete_policy")
    return (job.get("error") or {}).get("code") in ("no-such-volume", "no-such-policy")
