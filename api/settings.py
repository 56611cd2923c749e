"""Settings of the HTTP front end only; see also `worker.config.settings` and `api.auth.settings`."""

from __future__ import annotations

from pydantic import Field, field_validator

from worker.config.public_url import PUBLIC_URL, check_public_url
from worker.config.secret_files import SecretFiles
from worker.config.settings import LONGEST_S


class ApiSettings(SecretFiles):
    """Waiting and limits: ``SAPI_<NAME>``; times in seconds."""

    max_wait: int = Field(25, ge=0, le=600, description="Longest time that a request with Prefer: wait is held open")
    read_wait: float = Field(2.0, ge=0, le=60, description="How long a read waits for its job when it does not say")
    max_waiting: int = Field(
        400, ge=1, description="Clients that may wait at a time, in each process; others are answered at once"
    )
    max_streams: int = Field(
        200, ge=0, description="Event streams at a time, in each process; more are refused with 503"
    )
    max_bodies: int = Field(
        64,
        ge=1,
        description="Bodies of users without a role for changes that may be coming in at a time, in each process; more "
        "are refused with 429",
    )
    max_working: int = Field(
        2,
        ge=1,
        description="Requests of users without a role for changes that are worked on at a time, in each process; "
        "others wait, in a queue that is fair by sender",
    )
    max_queued: int = Field(
        1200,
        ge=1,
        description="Requests of such users that may wait for that, in each process; more are refused with 429",
    )
    user_places_share: int = Field(
        40,
        ge=1,
        le=100,
        description="Percentage of the waiting clients, streams and bodies that one user without a role for "
        "changes may take, and all clients together that have not signed in",
    )
    events_max: int = Field(
        3600, ge=1, le=LONGEST_S, description="How long an event stream lives; its client then connects again"
    )
    max_body_bytes: int = Field(
        1024 * 1024, ge=1024, description="Largest request body; larger ones are refused with 413"
    )
    max_url_bytes: int = Field(8 * 1024, ge=256, description="Longest path and query; longer ones are refused with 414")
    max_header_bytes: int = Field(
        16 * 1024, ge=1024, description="Largest block of headers; larger ones are refused with 431"
    )
    max_body_depth: int = Field(20, ge=5, description="Levels of objects and lists in a body; deeper ones are refused")
    max_body_names: int = Field(200, ge=50, description="Names in one object of a body; more are refused with 422")
    max_filter_terms: int = Field(
        100,
        ge=1,
        description="Filters of one request, with their alternatives and asterisks; more are refused with 422",
    )
    max_sort_keys: int = Field(8, ge=1, description="Fields to sort by in one request; more are refused with 422")
    flower_url: str = Field(
        "",
        pattern=PUBLIC_URL,
        description="Public address of Flower, as in https://flower.example.org; the console links to it "
        "(none: there is no link, and Flower's sign-in uses the address by which it is asked)",
    )
    listing_cache_bytes: int = Field(
        256 * 1024 * 1024,
        ge=0,
        description="Memory for listings at hand, in each process; answers that are repeated may have a quarter as "
        "much beside it, and large ones that users without a role for changes have not read yet a half",
    )
    admin_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of its own for /healthz, /readyz and /metrics, beside the public one (0: none)",
    )
    admin_address: str = Field(
        "127.0.0.1", description="IP address on which that port listens (in the image 0.0.0.0: every one)"
    )

    @field_validator("flower_url")
    @classmethod
    def _check_flower_url(cls, url: str) -> str:
        return check_public_url(url)
