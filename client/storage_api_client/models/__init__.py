"""The objects of the API."""

from storage_api_client.models.jobs import Attempt, Children, JobRecord, Links, Progress, Queue, Result
from storage_api_client.models.problems import BackendError, FieldError, Problem
from storage_api_client.models.resources import ExportPolicy, ExportRule, Lock, Snapshot, Volume

__all__ = [
    "Attempt",
    "BackendError",
    "Children",
    "ExportPolicy",
    "ExportRule",
    "FieldError",
    "JobRecord",
    "Links",
    "Lock",
    "Problem",
    "Progress",
    "Queue",
    "Result",
    "Snapshot",
    "Volume",
]
