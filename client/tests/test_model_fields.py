"""Every field of every model is of the type that it is declared with."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from storage_api_client import models
from storage_api_client.models.base import Model
from storage_api_client.models.batches import MemberResult

_MODELS = [MemberResult, *(member for name in models.__all__ if issubclass(member := getattr(models, name), Model))]


def _declared(kind: type) -> list[tuple[type[Model], str]]:
    """The fields that are of this type or None, by model."""
    return [
        (model, field.name)
        for model in _MODELS
        for field in dataclasses.fields(model)
        if any(isinstance(each, type) and issubclass(each, kind) for each in _types(model, field.name))
    ]


def _types(model: type[Model], name: str) -> tuple[Any, ...]:
    hint = get_type_hints(model)[name]
    return get_args(hint) or (hint,)


@pytest.mark.parametrize(("model", "name"), _declared(datetime))
def test_a_time_is_read(model: type[Model], name: str) -> None:
    made = model.of({name: "2026-01-02T03:04:05Z"})
    assert isinstance(getattr(made, name), datetime)
    assert getattr(model.of({name: None}), name) is None


@pytest.mark.parametrize(("model", "name"), _declared(Model))
def test_an_object_is_a_model(model: type[Model], name: str) -> None:
    (kind,) = (each for each in _types(model, name) if isinstance(each, type) and issubclass(each, Model))
    is_list = get_type_hints(model)[name] not in (kind, kind | None)
    value = getattr(model.of({name: [{"x": 1}] if is_list else {"x": 1}}), name)
    assert (value[0] if is_list else value) == kind.of({"x": 1})


@pytest.mark.parametrize(
    ("model", "name"),
    [(model, name) for model in _MODELS for name, hint in get_type_hints(model).items() if get_origin(hint) is tuple],
)
def test_a_list_is_a_tuple(model: type[Model], name: str) -> None:
    assert isinstance(getattr(model.of({name: []}), name), tuple)
    assert getattr(model.of({}), name) == ()


@pytest.mark.parametrize("model", _MODELS)
def test_missing_fields_are_none(model: type[Model]) -> None:
    """Nor is it true: what may be sent again, say."""
    said = {field.name: getattr(model.of({}), field.name) for field in dataclasses.fields(model)}
    assert said
    # A member of this name takes nothing away.
    assert (model.of({"raw": 1}).raw, model.of({"raw": 1, "x": 2}).more) == ({"raw": 1}, {"x": 2})
    assert {name: value for name, value in said.items() if value} in ({}, {"type": "about:blank"})


def test_a_member_with_a_problem_counts_as_failed_with_any_status() -> None:
    members: list[dict[str, Any]] = [
        {"status": 204},
        {"problem": {"code": "job-cancelled"}},
        {"status": 409, "problem": {}},
    ]
    assert [MemberResult.of(member).succeeded for member in members] == [True, False, False]
