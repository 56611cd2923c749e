"""One storage system in the configuration, before its options are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from storage_backends.configuration.options import OptionValue


class ConfigurationError(ValueError):
    """The configuration is wrong; the message is one line that says what to do, without any option's value."""


#: Look an option's value up, given the environment.
ReadValue = Callable[[Mapping[str, str]], OptionValue]


@dataclass(frozen=True, slots=True)
class Entry:
    """One storage system: its place in the configuration (for messages), its name and class, and its options."""

    place: str
    name: str
    driver: str
    #: Returns name and value of each option; raises ValueError, without any value, when they are malformed.
    read_options: Callable[[], list[tuple[str, ReadValue]]] = field(repr=False)
