"""The URL by which clients reach the service: read by the API, and by the workers that send webhooks."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field

from worker.config.secret_files import SecretFiles


class PublicUrlSettings(SecretFiles):
    """``SAPI_PUBLIC_URL``."""

    public_url: str = Field(
        "",
        pattern=r"^(https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~/-]*)?)?$",
        description="How the service is called from outside, as in https://example.org/storage; rules links (those in "
        "webhooks, too), cookies, redirects and pages (none: as it is asked)",
    )

    @property
    def path_prefix(self) -> str:
        """The path below which clients reach the service, without a slash at its end."""
        return urlsplit(self.public_url).path.rstrip("/")
