"""Commands whose client a test defines, without a service."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import Mock

import pytest

from storage_api_client.cli.exit_status import ExitStatus
from storage_api_client.cli.program import command_line
from storage_api_client.cli.state import State, Stop


@dataclass
class Offline(State):
    """A call whose client is ``api``."""

    api: Mock = field(default_factory=Mock)

    def client(self, timeout: float | None = None) -> AbstractContextManager[Any]:  # type: ignore[override]
        return nullcontext(self.api)


def call(api: Mock, *words: str) -> None:
    command_line().main(list(words), obj=Offline(api=api), standalone_mode=False)


def stop(api: Mock, *words: str) -> ExitStatus:
    """The exit status of a command that does not end well."""
    with pytest.raises(Stop) as end:
        call(api, *words)
    return end.value.status
