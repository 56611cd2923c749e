"""URLs by which clients reach the service and Flower; that of the service is read by the API and by webhook workers."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from worker.config.secret_files import SecretFiles

#: The form of such a URL; empty: it is not set.
PUBLIC_URL = r"^(https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~/-]*)?)?$"


def check_public_url(url: str) -> str:
    """Return a URL that has the form of SAPI_PUBLIC_URL.

    Raises:
        ValueError: its host, port or path cannot be one.
    """
    try:
        parts = urlsplit(url)
        is_possible = not url or (bool(parts.hostname) and parts.port != 0)
    except ValueError:
        is_possible = False
    if not is_possible or has_odd_segments(parts.path):
        raise ValueError("it must have a host, a port up to 65535 if any, and no empty or dot segments in its path")
    return url


def has_odd_segments(path: str) -> bool:
    """Has a path empty segments, or those of dots, which clients resolve before they send it?"""
    return any(segment in ("", ".", "..") for segment in path.removesuffix("/").split("/")[1:])


class PublicUrlSettings(SecretFiles):
    """``SAPI_PUBLIC_URL``."""

    public_url: str = Field(
        "",
        pattern=PUBLIC_URL,
        description="How the service is called from outside, as in https://example.org/storage; rules links (those in "
        "webhooks, too), cookies, redirects and pages (none: as it is asked)",
    )

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, url: str) -> str:
        return check_public_url(url)

    @property
    def path_prefix(self) -> str:
        """The path below which clients reach the service, without a slash at its end."""
        return urlsplit(self.public_url).path.rstrip("/")
