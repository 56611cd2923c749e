"""The base class of the models: frozen, with members that are unknown to this release in ``raw``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from storage_api_client.times import parse_time

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
_CONVERT = "convert"


@dataclass(frozen=True)
class Model:
    """An object of the API.

    Attributes:
        raw: the JSON object as received.
    """

    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False, kw_only=True)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        """Return the model of a JSON object; members that are missing are None."""
        values = {
            member.name: member.metadata.get(_CONVERT, _as_it_is)(raw[member.name])
            for member in fields(cls)
            if member.name in raw and member.name != "raw"
        }
        return cls(raw=raw, **values)

    @property
    def more(self) -> dict[str, Any]:
        """Members that this release of the client does not know."""
        names = {member.name for member in fields(self)}
        return {name: value for name, value in self.raw.items() if name not in names}


def _as_it_is(value: Any) -> Any:
    return value


def converted(convert: Callable[[Any], Any], default: Any = None) -> Any:
    """Return a field whose JSON value is converted."""
    return field(default=default, metadata={_CONVERT: convert})


def moment() -> Any:
    """Return a field for a time."""
    return converted(parse_time)


def nested(model: type[Model]) -> Any:
    """Return a field for an object of the API, or None."""
    return converted(lambda raw: model.of(raw) if isinstance(raw, Mapping) else None)


def nested_list(model: type[Model]) -> Any:
    """Return a field for a list of objects."""
    return converted(lambda raws: tuple(model.of(raw) for raw in raws or ()), ())
