"""A client of the storage API: volumes, snapshots, locks, export policies, and the jobs that change them.

    from storage_api_client import Client

    with Client("https://storage.example.org", token="…") as api:
        volume = api.subsystem("netapp").volumes.create("db1", size_total="10GiB")

``AsyncClient`` has the same names. Errors are below ``StorageApiError``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from storage_api_client.version import VERSION

if TYPE_CHECKING:
    from storage_api_client.aio.batch import AsyncBatch
    from storage_api_client.aio.client import AsyncClient
    from storage_api_client.aio.job import AsyncJob
    from storage_api_client.blocking.batch import Batch
    from storage_api_client.blocking.client import Client
    from storage_api_client.blocking.job import Job
    from storage_api_client.configuration.files import ConfigurationError
    from storage_api_client.errors import (
        BatchFailed,
        JobCancelled,
        JobFailed,
        NotAuthorised,
        NotFound,
        OutcomeUnknown,
        Refused,
        StillRunning,
        StorageApiError,
        Unavailable,
    )
    from storage_api_client.models import ExportPolicy, JobRecord, Lock, Problem, Progress, Snapshot, Volume
    from storage_api_client.models.batches import Event, MemberResult
    from storage_api_client.sizes import format_size, parse_size

__version__ = VERSION

#: Where each name is; imported when it is first used, so that the command line starts at once.
_HOMES = {
    "aio.batch": ["AsyncBatch"],
    "aio.client": ["AsyncClient"],
    "aio.job": ["AsyncJob"],
    "blocking.batch": ["Batch"],
    "blocking.client": ["Client"],
    "blocking.job": ["Job"],
    "configuration.files": ["ConfigurationError"],
    "errors": [
        "BatchFailed", "JobCancelled", "JobFailed", "NotAuthorised", "NotFound", "OutcomeUnknown", "Refused",
        "StillRunning", "StorageApiError", "Unavailable",
    ],
    "models": ["ExportPolicy", "JobRecord", "Lock", "Problem", "Progress", "Snapshot", "Volume"],
    "models.batches": ["Event", "MemberResult"],
    "sizes": ["format_size", "parse_size"],
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AsyncBatch", "AsyncClient", "AsyncJob", "Batch", "BatchFailed", "Client", "ConfigurationError", "Event",
    "ExportPolicy", "Job", "JobCancelled", "JobFailed", "JobRecord", "Lock", "MemberResult", "NotAuthorised",
    "NotFound",
    "OutcomeUnknown", "Problem", "Progress", "Refused", "Snapshot", "StillRunning", "StorageApiError", "Unavailable",
    "Volume", "format_size", "parse_size",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
