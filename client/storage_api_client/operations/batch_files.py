"""Files with a batch: YAML or JSON as the API accepts it, or CSV with an operation on each line."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args, get_type_hints

from storage_api_client.operations import policies, volumes
from storage_api_client.operations.batches import request_of
from storage_api_client.operations.settings import NewVolume, split
from storage_api_client.protocol.changes import Change

_WORDS = {"true": True, "yes": True, "false": False, "no": False}
#: What a member may be, by the operation's name in the API.
OPERATIONS: dict[str, Callable[..., Change[Any]]] = {
    function.__name__: function
    for function in (
        volumes.create_volume,
        volumes.clone_volume,
        volumes.roll_back_volume,
        volumes.update_volume,
        volumes.restrict_volume,
        volumes.reinstate_volume,
        volumes.create_snapshot,
        volumes.delete_snapshot,
        volumes.create_lock,
        volumes.remove_lock,
        policies.create_policy,
        policies.delete_policy,
        policies.ensure_policy_rule_present,
        policies.ensure_policy_rule_absent,
    )
}


class OrderError(ValueError):
    """The file orders no batch; the message says where and why."""


def order_of(document: Any) -> dict[str, Any]:
    """Return the body of POST /v4/batches for what stood in a file.

    A member is ``{"method", "path", "body"}``, or an operation with its arguments, as
    ``{"operation": "create_snapshot", "subsystem": "netapp", "volume": "db1", "name": "pre"}``.

    Raises:
        OrderError: it is no order.
    """
    if isinstance(document, list):
        document = {"requests": document}
    if not isinstance(document, Mapping) or not ({"requests", "for_each"} & set(document)):
        raise OrderError("The file must hold a list of requests, or an object with requests or for_each.")
    if "requests" not in document:
        return dict(document)
    if not isinstance(document["requests"], list):
        raise OrderError("requests must be a list.")
    return {**document, "requests": [_member(place, member) for place, member in enumerate(document["requests"])]}


def _member(place: int, member: Any) -> dict[str, Any]:
    if not isinstance(member, Mapping):
        raise OrderError(f"Request {place} must be an object.")
    if "operation" not in member:
        return dict(member)
    arguments = {name: value for name, value in member.items() if value is not None}
    operation = OPERATIONS.get(str(arguments.pop("operation")))
    if operation is None:
        raise OrderError(f"Request {place}: the operation must be one of {', '.join(OPERATIONS)}.")
    try:
        return request_of(_called(operation, arguments))
    except (TypeError, ValueError) as error:
        raise OrderError(f"Request {place}: {str(error).replace('()', '')}") from None


def _called(operation: Callable[..., Change[Any]], arguments: dict[str, Any]) -> Change[Any]:
    parameters = inspect.signature(operation).parameters
    for name, value in arguments.items():
        if name in parameters and parameters[name].annotation == "str" and not isinstance(value, str):
            raise ValueError(f'{name} must be text: write it in quotes, as in {name}: "{value}"')
    if "to" in parameters and "from_snapshot" in arguments:
        arguments["to"] = arguments.pop("from_snapshot")
    if "settings" not in parameters:
        return operation(**arguments)
    direct = {name: arguments.pop(name) for name in tuple(arguments) if name in parameters and name != "settings"}
    return operation(**direct, settings=split(arguments)[0])


def from_rows(rows: Iterable[Mapping[Any, Any]]) -> dict[str, Any]:
    """Return the order of a CSV file's rows; the columns are ``operation`` and arguments, empty cells are left out.

    Raises:
        OrderError: it is no order.
    """
    return order_of([_typed(place, row) for place, row in enumerate(rows)])


def _typed(place: int, row: Mapping[Any, Any]) -> dict[str, Any]:
    # csv.DictReader has them below None.
    if row.get(None):
        raise OrderError(f"Request {place} has more cells than there are columns: quote what has a comma in it.")
    cells = {name: (text or "").strip() for name, text in row.items() if name}
    try:
        return {name: _value(name, text) for name, text in cells.items() if text}
    except json.JSONDecodeError:
        raise OrderError(f"Request {place}: body is no JSON.") from None


def _value(name: str, text: str) -> Any:
    if name == "body":
        return json.loads(text)
    if name == "rules":
        return text.split()
    kind = get_type_hints(NewVolume).get(name)
    if (kind is bool or name == "purge_old_if_needed") and text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if kind is int or int in get_args(kind):
        return int(text) if text.isascii() and text.isdigit() else text
    return text
