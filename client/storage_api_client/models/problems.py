"""Problem documents (RFC 9457)."""

from __future__ import annotations

from dataclasses import dataclass

from storage_api_client.models.base import Model, nested, nested_list


@dataclass(frozen=True)
class FieldError(Model):
    """What is wrong with one member of a request, by JSON pointer."""

    pointer: str = ""
    detail: str = ""


@dataclass(frozen=True)
class BackendError(Model):
    """The error of the storage system."""

    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class Problem(Model):
    """Why a request was refused, or a job failed.

    Attributes:
        code: for programs, such as "no-such-volume".
        detail: one or two sentences for people, with what to do next.
        retryable: may the same request succeed later, unchanged?
        limit: the setting of the service whose limit was reached.
    """

    type: str = "about:blank"
    title: str = ""
    status: int = 0
    detail: str = ""
    instance: str | None = None
    code: str = ""
    retryable: bool = False
    request_id: str | None = None
    errors: tuple[FieldError, ...] = nested_list(FieldError)
    backend_error: BackendError | None = nested(BackendError)
    limit: str | None = None
