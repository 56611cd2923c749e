"""Fields that accept only their own JSON type: for integers no "1", 1.0 or true."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from api.schemas.names import Check

MOST_BYTES = 2**63 - 1
_MOST_DIGITS = 18


class StrictInteger(ma.fields.Integer):
    """A JSON integer."""

    default_error_messages = {"invalid": "must be an integer"}  # noqa: RUF012 - marshmallow's way

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.make_error("invalid")
        return value


class Digits(ma.fields.Integer):
    """An integer in a query: ASCII digits, where Python would read ``+1``, ``1_0`` and digits of other scripts, too."""

    default_error_messages = {"invalid": "must be a whole number"}  # noqa: RUF012 - marshmallow's way

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        if not (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS):
            raise self.make_error("invalid")
        return int(value)


class StrictBoolean(ma.fields.Boolean):
    """A JSON boolean."""

    default_error_messages = {"invalid": "must be true or false"}  # noqa: RUF012 - marshmallow's way

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


def _field(kind: type[ma.fields.Field], description: str, example: Any, **options: Any) -> Any:
    messages = {"null": "must not be null", "required": "is required", **options.pop("error_messages", {})}
    described = {"description": description, **({} if example == "" else {"example": example})}
    metadata = {**described, **options.pop("metadata", {})}
    return kind(metadata=metadata, error_messages=messages, **options)


def size(description: str, example: int = 107374182400) -> Any:
    """A size in bytes."""
    limits = ma.validate.Range(0, MOST_BYTES, error="must be from {min} to {max}")
    return _field(StrictInteger, description, example, validate=limits, metadata={"format": "int64"})


def percentage(description: str, example: int = 20) -> Any:
    """A percentage from 0 to 100."""
    return _field(
        StrictInteger, description, example, validate=ma.validate.Range(0, 100, error="must be from {min} to {max}")
    )


def flag(description: str, *, example: bool = True, **options: Any) -> Any:
    """True or false."""
    return _field(StrictBoolean, description, example, **options)


def text(description: str, example: str, check: Check, **options: Any) -> Any:
    """A string that passes a check of `api.schemas.names`."""
    messages = {"invalid": "must be a string"}
    return _field(ma.fields.String, description, example, validate=passes(check), error_messages=messages, **options)


def choice(description: str, example: str, values: tuple[str, ...], **options: Any) -> Any:
    """A string that is one of several values."""
    messages = {"invalid": "must be a string"}
    one_of = ma.validate.OneOf(values, error="must be one of {choices}")
    return _field(ma.fields.String, description, example, validate=one_of, error_messages=messages, **options)


def texts(description: str, example: list[str], check: Check, **options: Any) -> Any:
    """A list of such strings."""
    messages = {"invalid": "must be a list"}
    inner = text("", example[0], check)
    return _field(_list_of(inner), description, example, error_messages=messages, **options)


def _list_of(inner: ma.fields.Field) -> Any:
    return lambda **options: ma.fields.List(inner, **options)


def passes(check: Check) -> Any:
    """Return marshmallow's validator for a check of `api.schemas.names`."""

    def validate(value: str) -> None:
        wrong = check(value)
        if wrong:
            raise ma.ValidationError(wrong)

    return validate
