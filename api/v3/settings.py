"""Settings of the v3 API: ``SAPI_V3`` and ``SAPI_V3_<NAME>``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from urllib.parse import urlsplit

from flask import current_app
from pydantic import Field, field_validator

from worker.config.secret_files import SecretFiles

EXTENSION = "storage-api-v3"


class V3Settings(SecretFiles):
    """Settings of the API for the predecessor's clients; times in seconds."""

    v3: bool = Field(True, description="Serve the predecessor's API below /v3 (false: every path there is 404)")
    v3_wait: int = Field(
        55,
        ge=1,
        le=600,
        description="How long a request below /v3 is held open for its job; must be below the timeout of every proxy",
    )
    v3_max_age: int | None = Field(
        None,
        ge=0,
        description="How old what is read below /v3 may be (default: as SAPI_CACHE_FRESH; 0: always ask the filer)",
    )
    v3_repeat: int = Field(
        600,
        ge=1,
        le=86400,
        description="How long after a job's end its outcome is kept for the same request below /v3, if it was not sent",
    )
    v3_deprecated: date = Field(date(2027, 1, 1), description="Since when /v3 is deprecated, as its answers say")
    v3_sunset: date | None = Field(None, description="When /v3 is to go, as its answers say; nothing happens then")
    v3_manual_url: str = Field("", description="Address of the manual's page on moving over, for answers below /v3")

    @field_validator("v3_manual_url")
    @classmethod
    def _check_manual_url(cls, url: str) -> str:
        # It stands in a header.
        if url and (not url.isascii() or urlsplit(url).scheme not in ("http", "https") or set(url) & set('<>" \t\r\n')):
            raise ValueError("must be an http(s) address, with all but ASCII characters encoded")
        return url


@dataclass(frozen=True, slots=True)
class V3:
    """The settings of the current application."""

    settings: V3Settings
    max_age_s: int


def v3() -> V3:
    """Return the v3 API's objects of the current application."""
    extension = current_app.extensions[EXTENSION]
    assert isinstance(extension, V3)  # noqa: S101 - put there by init_app
    return extension
