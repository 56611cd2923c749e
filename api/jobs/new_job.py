"""Builds the job of the current request, before it is accepted: requester, operation, Idempotency-Key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from flask import request

from api.auth import principal
from api.http.bodies import received_body
from api.http.member_requests import current_member
from api.http.methods import SAFE_METHODS
from api.http.problems import Problem, invalid
from api.http.request_ids import request_id
from api.services import current_services
from storage_backends.client_matches import canonical_arguments, canonical_match
from worker.catalog.operations import Operation
from worker.config.callback_hosts import target_of
from worker.config.networks import network_of
from worker.jobs.service import NewJob
from worker.store.keys import Keys
from worker.telemetry import tracing

_LONGEST_KEY = 255


def new_job(
    operation: Operation, subsystem: str, arguments: Mapping[str, Any], *, volume: str = "", keyed: bool = False
) -> NewJob:
    """Return the job; callers set further fields with ``dataclasses.replace``.

    Args:
        operation: the operation.
        subsystem: the storage system.
        arguments: the operation's arguments.
        volume: the volume as the client named it (empty: as in the arguments).
        keyed: is the Idempotency-Key used? Reads have none.

    Raises:
        Problem: the Idempotency-Key is malformed.
    """
    # Key and callback of a batch belong to the batch, not to its members.
    key = idempotency_key() if keyed and current_member() is None else ""
    arguments = canonical_arguments(arguments)
    return NewJob(
        operation=operation,
        subsystem=subsystem,
        arguments=arguments,
        request=arguments,
        target=canonical_path(),
        requester=principal().name,
        requester_id=principal().owner,
        network=network_of(request.remote_addr),
        request_id=request_id(),
        volume=volume or str(arguments.get("volume", "")),
        traceparent=tracing.current_context(),
        callback=_callback(operation),
        idempotency_key=key,
        request_hash=request_hash() if key else "",
    )


def idempotency_key() -> str:
    """Return the request's key without quotes, empty without a key; keys without quotes are accepted, too.

    Raises:
        Problem: it is malformed.
    """
    if "Idempotency-Key" not in request.headers:
        return ""
    key = request.headers["Idempotency-Key"].strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key or len(key) > _LONGEST_KEY or not key.isprintable():
        raise Problem("invalid-request", f"Idempotency-Key must be 1 to {_LONGEST_KEY} printable characters.")
    return key


def _callback(operation: Operation) -> str:
    if current_member():
        return ""
    if operation.is_change:
        return callback_url()
    # A request for a change may have to read something first: that read has no callback.
    if request.method in SAFE_METHODS:
        reject_callback()
    return ""


def reject_callback() -> None:
    """Refuse a request for a read that names a receiver.

    Raises:
        Problem: it has a Callback-URL.
    """
    if "Callback-URL" in request.headers:
        raise invalid("/Callback-URL", "is for changes only: wait for a read with Prefer: wait")


def callback_url() -> str:
    """Return the URL to notify of the job's end; empty without one.

    Raises:
        Problem: callbacks to that URL are not allowed.
    """
    url = _sent_callback()
    if "Callback-URL" not in request.headers:
        return ""
    try:
        target_of(url)
    except ValueError as error:
        raise invalid("/Callback-URL", str(error)) from None
    services = current_services()
    if not services.callback_hosts.allow(url):
        raise invalid("/Callback-URL", "is not allowed: whoever runs the service names hosts in SAPI_CALLBACK_HOSTS")
    if not services.redis.exists(Keys(services.settings.key_prefix).webhook_callbacks):
        raise invalid("/Callback-URL", "is not possible: whoever runs the service has set no SAPI_CALLBACK_SECRET")
    return url


def _sent_callback() -> str:
    return request.headers.get("Callback-URL", "").strip()


def request_hash() -> str:
    """Return a digest of the request that does not depend on the formatting of its JSON."""
    sent = received_body()
    try:
        body = orjson.dumps(_canonical(orjson.loads(sent)), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONDecodeError:
        body = sent
    query = request.query_string.decode("latin-1")
    parts = [request.method, canonical_path(), query, body.decode("latin-1")]
    if callback := _sent_callback():
        # A replay notifies the first request's receiver alone: with another one it is another request.
        parts.append(callback)
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()


def _canonical(body: Any) -> Any:
    """Return the body with its rules in canonical form; below `/v3` it may hold anything under that name."""
    rules = body.get("rules") if isinstance(body, dict) else None
    is_of_rules = isinstance(rules, list) and all(isinstance(rule, str) for rule in rules)
    return canonical_arguments(body) if is_of_rules else body


def canonical_path() -> str:
    """Return the request's path with its host or rule in canonical form."""
    member = current_member()
    path, parts = (member.path, member.view_args) if member else (request.path, request.view_args or {})
    for name, value in parts.items():
        if name in {"host", "rule"} and path.endswith(f"/{value}"):
            return f"{path.removesuffix(value)}{canonical_match(value)}"
    return path
