"""The initial state of a dummy: generated volumes, always the same, or records from a file."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from uuid import UUID

from storage_backends.dummy import export_policies as policies
from storage_backends.dummy import volume_rows as rows
from storage_backends.dummy.volumes import AGGREGATES
from storage_backends.errors import StorageError
from storage_backends.models import ExportPolicy, Volume

GIB = 1024**3
_OWNERS = ("acclog", "atlasr", "castor", "cmsonr", "devdb", "edms", "histo", "lcgr", "lhcbr", "pdb", "scada", "zora")
_PURPOSES = ("backup", "data", "logs", "redo", "scratch")
_TEXTS = frozenset(field.name for field in fields(Volume) if str(field.type).startswith("str"))
_FLAGS = frozenset(field.name for field in fields(Volume) if str(field.type).startswith("bool"))
_KNOWN = frozenset(field.name for field in fields(Volume))


def seed(db: sqlite3.Connection, volumes: int | str) -> None:
    """Fill an empty state with that many generated volumes, or with the records of a JSON file, and their policies.

    Raises:
        StorageError: the file cannot be read, or a record in it is wrong.
    """
    seeded = list(generate_volumes(volumes)) if isinstance(volumes, int) else list(read_volumes(Path(volumes)))
    used = {volume.active_policy_name for volume in seeded if volume.active_policy_name} - {policies.DEFAULT}
    policies.insert_many(db, [ExportPolicy(policies.DEFAULT), *map(_policy, sorted(used))])
    try:
        rows.insert_many(db, seeded)
    except sqlite3.IntegrityError as error:
        raise StorageError("the file of volume records names a volume or a junction path twice") from error


def generate_volumes(number: int) -> Iterator[Volume]:
    """Generate that many volumes; a larger number begins with the same ones."""
    dice = random.Random(2017)  # noqa: S311 - sizes, not secrets
    aggregates = list(AGGREGATES.items())
    for index in range(number):
        round_, kind = divmod(index, len(_OWNERS) * len(_PURPOSES))
        owner, purpose = _OWNERS[kind % len(_OWNERS)], _PURPOSES[kind // len(_OWNERS)]
        aggregate, address = aggregates[dice.randrange(len(aggregates))]
        size = dice.randrange(10, 6000) * GIB
        yield Volume(
            name=f"{owner}_{purpose}{round_ + 1:02d}",
            uuid=str(UUID(int=dice.getrandbits(128), version=4)),
            state="online",
            filer_address=address,
            aggregate_name=aggregate,
            junction_path=f"/{purpose}/dbs{round_ + 1:02d}/{owner.upper()}",
            size_total=size,
            size_used=size * dice.randrange(5, 95) // 100,
            autosize_enabled=dice.randrange(10) > 0,
            max_autosize=size * 6 // 5,
            active_policy_name=f"{owner}_{purpose}",
            percentage_snapshot_reserve=dice.choice((0, 5, 5, 20)),
            percentage_snapshot_reserve_used=dice.randrange(0, 60),
            compression_enabled=purpose == "backup",
            inline_compression=purpose == "backup",
            caching_policy="auto",
            snapshot_policy="default",
            security_style="unix",
            unix_permissions="0755",
            space_guarantee="none",
            tiering_policy="none",
            comment="",
            type="rw",
            creation_time=f"20{dice.randrange(13, 18)}-{dice.randrange(1, 13):02d}-{dice.randrange(1, 29):02d}"
            f"T{dice.randrange(24):02d}:{dice.randrange(60):02d}:{dice.randrange(60):02d}Z",
        )


def read_volumes(path: Path) -> Iterator[Volume]:
    """Read volumes from a JSON list of records in our own field names; a key that is missing is unknown.

    Raises:
        StorageError: it cannot be read, or a record in it is wrong.
    """
    try:
        records = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise StorageError(f"the file of volume records cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StorageError(f"the file of volume records is not JSON: {error}") from error
    if not isinstance(records, list):
        raise StorageError("the file of volume records is not a JSON list")
    for number, record in enumerate(records, start=1):
        if fault := _fault(record):
            raise StorageError(f"record {number} of the file of volume records {fault}")
        yield Volume(**record)


def _fault(record: Any) -> str | None:
    """Return what is wrong with a record, if anything."""
    if not isinstance(record, dict) or not isinstance(record.get("name"), str) or not record["name"]:
        return "has no name"
    if unknown := sorted(record.keys() - _KNOWN):
        return f"has an unknown field {unknown[0]!r}"
    for name, value in record.items():
        expected = str if name in _TEXTS else bool if name in _FLAGS else int
        if value is not None and type(value) is not expected:
            return f"has a {name} that is not {expected.__name__}"
    return None


def _policy(name: str) -> ExportPolicy:
    host = name.rpartition("_")[0].lower() or name.lower()
    return ExportPolicy(name, ("192.0.2.0/24", f"{host}.example.org"))
