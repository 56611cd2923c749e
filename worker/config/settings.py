"""Settings of both API and workers, read once from the environment and validated at start."""

from __future__ import annotations

from typing import Any, Self, TypeVar

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings

from worker.config import redis_urls as addresses
from worker.config.callback_hosts import CallbackHosts
from worker.config.secret_files import SecretFiles, UnreadableSecret

#: The longest lifetime or time limit (seconds), a hundred years: times beyond the year 9999 cannot be written.
LONGEST_S = 100 * 365 * 86400


class Settings(SecretFiles):
    """Redis, the queues, lifetimes and limits: ``SAPI_<NAME>``; times in seconds."""

    debug: bool = Field(
        False,
        validation_alias=AliasChoices("SAPI_DEBUG", "FLASK_DEBUG"),
        description="Development mode: loopback clients may sign in without a provider, an unsafe Redis only warns",
    )
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis that holds jobs, results and listings; rediss:// with TLS (?ssl_ca_certs=…), "
        "unix:///socket?db=0, or sentinel://:password@host1:26379,host2:26379/0?master_name=… (with TLS: "
        "sentinel+tls://)",
    )
    redis_timeout: float = Field(
        2.0, ge=0.1, le=30, description="How long Redis may take to answer before it counts as unavailable"
    )
    broker_url: SecretStr | None = Field(
        None, description="Celery broker, if it is not the Redis above: amqp:// (RabbitMQ), or as above"
    )
    key_prefix: str = Field("sapi:", pattern=r"^[a-z0-9:_-]{1,32}$", description="Start of every key in Redis")
    wait_replicas: int = Field(
        0, ge=0, description="Replicas that must hold an accepted job before the client learns its id"
    )

    job_keep: int = Field(7 * 86400, ge=1, le=LONGEST_S, description="How long a finished job's record is kept")
    read_job_keep: int = Field(
        300, ge=1, le=LONGEST_S, description="How long the record of a finished read is kept, and its result"
    )
    result_keep: int = Field(86400, ge=1, le=LONGEST_S, description="How long a finished job's result is kept")
    idempotency_keep: int = Field(86400, ge=1, le=LONGEST_S, description="How long an Idempotency-Key is remembered")
    queue_limit: int = Field(1000, ge=1, description="Jobs that may wait in one queue; more are refused with 429")
    user_queue_share: int = Field(
        70, ge=1, le=100, description="Percentage of a queue that the waiting jobs of one user may take"
    )
    strangers_queue_share: int = Field(
        20, ge=1, le=100, description="The same for all clients together that have not signed in"
    )
    user_read_rate: int = Field(
        6000, ge=0, description="Reads of one user in a minute that ask the storage system (0: any number)"
    )
    address_read_rate: int = Field(
        1200, ge=0, description="The same for clients from one address that have not signed in (IPv6: from one /64)"
    )
    strangers_read_rate: int = Field(
        3000, ge=0, description="The same for all clients together that have not signed in"
    )
    reads_memory_percent: int = Field(
        80, ge=1, le=100, description="Use of Redis's memory from which reads that need a job are refused with 503"
    )

    events_keep: int = Field(3600, ge=1, le=LONGEST_S, description="How long GET /v4/events can go on after a break")

    callback_hosts: str = Field(
        "",
        description="Where Callback-URL may point, comma-separated: host or host:port, http://host for plain HTTP; "
        "receivers named here may also be this machine",
    )

    cache_fresh: int = Field(60, ge=0, le=LONGEST_S, description="How long a listing is fresh")
    cache_stale: int = Field(
        3600, ge=0, le=LONGEST_S, description="How long after that the old copy is served while one refresh runs"
    )
    cache_keep: int = Field(
        86400, ge=1, le=LONGEST_S, description="How long the old copy is kept for when the filer is away"
    )
    old_listing_ttl: int = Field(
        600, ge=1, le=LONGEST_S, description="How long a superseded listing is kept for clients that page through it"
    )
    refresh_interval: int = Field(
        0, ge=0, le=LONGEST_S, description="Refresh volume listings on schedule, every so many seconds (0: no)"
    )

    backend_patience: int = Field(
        60, ge=0, le=LONGEST_S, description="How long a job is tried again while its filer cannot be reached"
    )
    reconcile_timeout: int = Field(
        600, ge=1, le=LONGEST_S, description="How long a lost change is looked for before outcome-unknown"
    )
    read_timeout: int = Field(600, ge=1, le=LONGEST_S, description="Time limit of a read")
    change_timeout: int = Field(1800, ge=1, le=LONGEST_S, description="Time limit of a change")
    lease: int = Field(15, ge=3, le=40, description="How long a worker may act on a job without renewing its lease")

    write_slots: int = Field(8, ge=1, le=64, description="Changes at a time, for each worker process and filer")
    read_slots: int = Field(8, ge=1, le=64, description="Look-ups at a time, for each worker process and filer")
    list_slots: int = Field(4, ge=1, le=64, description="Listings at a time, for each worker process and filer")
    subsystems: str = Field("", description="Comma-separated endpoints that this worker serves (empty: all)")
    log_level: str = Field(
        "INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least severe message that is logged"
    )

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: SecretStr) -> SecretStr:
        addresses.check_redis_url(url.get_secret_value())
        return url

    @field_validator("broker_url")
    @classmethod
    def _check_broker_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            addresses.broker(url.get_secret_value())
        return url

    @field_validator("callback_hosts")
    @classmethod
    def _check_callback_hosts(cls, entries: str) -> str:
        CallbackHosts(entries)
        return entries

    @model_validator(mode="after")
    def _check_lifetimes(self) -> Self:
        if self.cache_keep < self.cache_fresh:
            raise ValueError("SAPI_CACHE_KEEP must not be shorter than SAPI_CACHE_FRESH")
        return self

    @property
    def user_queue_limit(self) -> int:
        """How many jobs of one user may wait in one queue."""
        return self.queue_limit - self.queue_limit * (100 - self.user_queue_share) // 100

    @property
    def strangers_queue_limit(self) -> int:
        """How many jobs of clients that have not signed in may wait in one queue."""
        return max(1, self.queue_limit * self.strangers_queue_share // 100)

    @property
    def broker(self) -> str:
        """The broker's URL, with its credentials."""
        return (self.broker_url or self.redis_url).get_secret_value()

    @property
    def enqueues_in_transaction(self) -> bool:
        """Can the submit script enqueue the Celery message? Only in the same Redis, without waiting for replicas."""
        return self.broker == self.redis_url.get_secret_value() and not self.wait_replicas


class BadSettings(ValueError):
    """A setting is wrong; the message is one line that says which and what it may be."""


S = TypeVar("S", bound=BaseSettings)


def load(settings: type[S], **values: Any) -> S:
    """Read ``settings`` from the environment.

    Raises:
        BadSettings: a variable has a wrong value.
    """
    try:
        return settings(**values)
    except UnreadableSecret as exc:
        raise BadSettings(str(exc)) from None
    except ValidationError as exc:
        problems = "; ".join(
            f"{_variable(settings, error['loc'])}: {error['msg'].removeprefix('Value error, ')}"
            for error in exc.errors()
        )
        raise BadSettings(problems) from None


def _variable(settings: type[BaseSettings], location: tuple[int | str, ...]) -> str:
    if not location:
        return "settings"
    name = str(location[0])
    return name if name.isupper() else f"{settings.model_config.get('env_prefix', '')}{name}".upper()
