"""How a transaction of the dummy ends."""

from __future__ import annotations

import sqlite3
from types import SimpleNamespace
from typing import Any

import pytest

from storage_backends.dummy import database
from storage_backends.errors import BackendUnavailable, OutcomeUnclear, StorageError


@pytest.mark.parametrize(("is_open", "error"), [(True, BackendUnavailable), (False, OutcomeUnclear)])
def test_a_commit_that_fails_is_undone_where_that_is_possible_and_otherwise_in_doubt(
    is_open: bool, error: type[StorageError]
) -> None:
    executed: list[str] = []

    def execute(statement: str) -> None:
        executed.append(statement)
        if statement == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")

    connection: Any = SimpleNamespace(execute=execute, in_transaction=is_open)
    with pytest.raises(error):
        database._commit(connection)
    assert executed == (["COMMIT", "ROLLBACK"] if is_open else ["COMMIT"])
