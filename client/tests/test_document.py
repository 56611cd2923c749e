"""Models and commands against the OpenAPI document that the service serves: both must match."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any, get_args, get_origin, get_type_hints

import click
import pytest

from storage_api_client import Client, models
from storage_api_client.cli.program import command_line
from storage_api_client.cli.progress import describe
from storage_api_client.models import JobRecord
from storage_api_client.models.base import Model
from storage_api_client.models.batches import MemberResult
from storage_api_client.operations import settings
from storage_api_client.operations.jobs import JobFilter

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

#: Schemas by the model that stands for them; several may share one.
MODELS: dict[type[Model], tuple[str, ...]] = {
    models.Volume: ("Volume", "ListedVolume"),
    models.Snapshot: ("Snapshot", "ListedSnapshot"),
    models.Lock: ("Lock", "ListedLock"),
    models.ExportPolicy: ("DetailedPolicy", "Policy", "ListedPolicy"),
    models.ExportRule: ("ExportRule",),
    models.JobRecord: ("Job",),
    models.Attempt: ("Attempt",),
    models.Children: ("Children",),
    MemberResult: ("MemberResult",),
    models.Queue: ("Queue",),
    models.Progress: ("Progress",),
    models.Result: ("Result",),
    models.Links: ("Links",),
    models.Problem: ("Problem",),
    models.FieldError: ("FieldError",),
    models.BackendError: ("BackendError",),
}
_BODIES = {
    settings.NewVolume: "NewVolume",
    settings.VolumeChanges: "VolumeChanges",
}
#: A clone's origin has arguments of its own.
_ORIGIN = {"from_snapshot", "from_volume"}
_JSON_TYPES = {"string": str, "integer": int, "number": float, "boolean": bool, "array": tuple, "object": object}


@pytest.fixture
def document(api: Client) -> dict[str, Any]:
    return api.openapi()


def _fields(model: type) -> dict[str, Any]:
    hints = get_type_hints(model)
    return {member.name: hints[member.name] for member in dataclasses.fields(model) if member.name != "raw"}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_model_has_the_fields_of_its_schemas_and_no_others(model, document):
    schemas = document["components"]["schemas"]
    served: set[str] = set()
    for name in MODELS[model]:
        served |= schemas[name]["properties"].keys()
    assert _fields(model).keys() == served


def _kinds(schema: dict[str, Any]) -> set[type]:
    """The Python types of a property."""
    if schema.get("format") == "date-time":
        return {datetime}
    if "anyOf" in schema:
        return {kind for part in schema["anyOf"] for kind in _kinds(part)}
    if "$ref" in schema:
        return {next(model for model, names in MODELS.items() if schema["$ref"].rsplit("/")[-1] in names)}
    type_names = schema.get("type", [])
    return {
        _JSON_TYPES[name] for name in ([type_names] if isinstance(type_names, str) else type_names) if name != "null"
    }


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_field_has_the_type_that_is_served(model, document):
    checked = 0
    for name, schema in document["components"]["schemas"][MODELS[model][0]]["properties"].items():
        hint = _fields(model)[name]
        kinds = _kinds(schema)
        if hint is Any or kinds <= {object} or name == "creation_time":
            continue  # Anything; an object without a schema; a time whose schema says text.
        model_kinds = {get_origin(kind) or kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)}
        model_kinds = {tuple} if get_origin(hint) is tuple else model_kinds
        assert model_kinds == kinds, name
        checked += 1
    assert checked or model is models.Result


@pytest.mark.parametrize("chosen", _BODIES, ids=lambda chosen: chosen.__name__)
def test_settings_of_volumes_are_those_of_the_service(chosen, document):
    served = document["components"]["schemas"][_BODIES[chosen]]["properties"].keys()
    ours = get_type_hints(chosen).keys() - get_type_hints(settings.ChangeOptions).keys()
    assert ours == served - _ORIGIN


def test_filters_of_jobs_are_those_of_the_service(document):
    served = document["components"]["schemas"]["JobFilter"]["properties"].keys()
    assert get_type_hints(JobFilter).keys() == served


def test_each_waiting_reason_has_its_own_text(document):
    reasons = document["components"]["schemas"]["Queue"]["properties"]["waiting_reason"]["enum"]
    jobs = [JobRecord.of({"state": "queued", "queue": {"waiting_reason": reason}}) for reason in reasons if reason]
    words = {describe(job) for job in jobs}
    assert len(words) == len(jobs) >= 4
    assert "queued" not in words


def _commands(group: click.Group) -> list[click.Command]:
    below = [_commands(member) if isinstance(member, click.Group) else [member] for member in group.commands.values()]
    return [command for commands in below for command in commands]


def test_every_operation_has_a_command(document):
    served = {
        operation["operationId"]
        for path, item in document["paths"].items()
        for method, operation in item.items()
        # The predecessor's API is for its own clients.
        if not path.startswith("/v3/") and method in ("get", "post", "put", "patch", "delete")
    }
    operation_ids = {name for item in document["paths"].values() for operation in item.values()
             if isinstance(operation, dict) for name in operation.get("x-operations", ())}  # fmt: skip
    assert len(served) > 30
    carried_out = {name for command in _commands(command_line()) for name in command.operations}  # type: ignore[attr-defined]
    assert (served | operation_ids) - carried_out == set()
