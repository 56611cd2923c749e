"""One storage system as it stands in the configuration, before its options are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from storage_backends.configuration.options import OptionValue


class ConfigurationError(ValueError):
    """The configuration cannot be used; the message is one line that says what to do, and holds no option's value."""


#: Look an option's value up, given the environment.
ReadValue = Callable[[Mapping[str, str]], OptionValue]


@dataclass(frozen=True, slots=True)
class Entry:
    """One storage system: where it stands (for messages), its name and class, and a way to its options."""

    place: str
    name: str
    driver: str
    #: Returns name and value of each option; raises ValueError, without any value, when they are odd.
    read_options: Callable[[], list[tuple[str, ReadValue]]] = field(repr=False)
