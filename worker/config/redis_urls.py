"""Where Redis and the broker are: one form of URL, and the forms that redis-py and kombu each need."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from redis.connection import parse_url

#: Ports where none is given.
_SENTINEL_PORT = 26379
_SENTINEL_SCHEMES = {"sentinel": "redis", "sentinel+tls": "rediss"}
_REDIS_SCHEMES = ("redis", "rediss", "unix")
_CERTIFICATE_WORDS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_UNREADABLE = "it cannot be read: write special characters of the password as %40 and the like"
_SENTINEL_WORDS = ("sentinel_username", "sentinel_password")


class WrongUrl(ValueError):
    """A URL cannot be used; the message shows nothing of it, since it holds a password."""


@dataclass(frozen=True, slots=True)
class Sentinels:
    """The sentinels that know which server is the master at present."""

    hosts: tuple[tuple[str, int], ...]
    master_name: str
    #: How to connect to the master, except where it is: words of redis-py.
    options: Mapping[str, Any] = field(repr=False)
    #: How to connect to a sentinel, likewise.
    own_options: Mapping[str, Any] = field(repr=False)
    tls: bool


@dataclass(frozen=True, slots=True)
class Broker:
    """The broker for kombu: its URL, and options that do not fit into it."""

    url: str = field(repr=False)
    use_ssl: dict[str, Any] | bool = False
    options: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_redis(self) -> bool:
        """Do messages go by Redis?"""
        return is_redis(self.url)


def sentinels(url: str) -> Sentinels | None:
    """Read ``sentinel://[user:password@]host[:port],host[:port]/database?master_name=name``; None for another scheme.

    With ``sentinel+tls`` both the sentinels and the servers are reached by TLS.

    Raises:
        WrongUrl: what is wrong; without the URL, which holds a password.
    """
    current_services = urlsplit(url)
    if current_services.scheme not in _SENTINEL_SCHEMES:
        return None
    said = dict(parse_qsl(current_services.query))
    name = said.pop("master_name", "")
    if not name:
        raise WrongUrl("a sentinel:// URL must end in ?master_name=… as the sentinels call the master")
    own = {word.removeprefix("sentinel_"): said.pop(word) for word in _SENTINEL_WORDS if word in said}
    userinfo, _, hosts = current_services.netloc.rpartition("@")
    as_redis = current_services._replace(
        scheme=_SENTINEL_SCHEMES[current_services.scheme], netloc=f"{userinfo}@localhost", query=urlencode(said)
    )
    options = _redis_options(as_redis.geturl())
    for word in ("host", "port", "connection_class"):
        options.pop(word, None)
    tls = as_redis.scheme == "rediss"
    own |= {"ssl": True} | {word: value for word, value in options.items() if word.startswith("ssl_")} if tls else {}
    return Sentinels(tuple(_host(text) for text in hosts.split(",")), name, options, own, tls)


def is_redis(url: str) -> bool:
    """Does this URL, in whoever's form, name a Redis?"""
    return url.startswith(("redis", "unix", "sentinel", "consumed-"))


def check_redis_url(url: str) -> None:
    """Refuse what names no Redis.

    Raises:
        WrongUrl: what is wrong; without the URL, which holds a password.
    """
    if sentinels(url) is None:
        if urlsplit(url).scheme not in _REDIS_SCHEMES:
            raise WrongUrl("it must begin with redis://, rediss://, unix:// or sentinel://")
        _redis_options(url)


def broker(url: str) -> Broker:
    """Return kombu's form of a broker that is given as a Redis or AMQP URL.

    Raises:
        WrongUrl: as ``check_redis_url``.
    """
    found = sentinels(url)
    if found is not None:
        return _broker_of_sentinels(urlsplit(url), found)
    current_services = urlsplit(url)
    if current_services.scheme == "rediss":
        # kombu checks no certificate unless configured to.
        return Broker(current_services._replace(query="").geturl(), _use_ssl(_redis_options(url)))
    if current_services.scheme == "unix":
        database = _redis_options(url).get("db", 0)
        return Broker(current_services._replace(scheme="redis+socket", query=f"virtual_host={database}").geturl())
    return Broker(url)


def _redis_options(url: str) -> dict[str, Any]:
    """What redis-py reads from a URL of its own."""
    try:
        options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError:
        raise WrongUrl(_UNREADABLE) from None
    return options


def _broker_of_sentinels(current_services: SplitResult, found: Sentinels) -> Broker:
    userinfo, _, hosts = current_services.netloc.rpartition("@")
    start = f"sentinel://{userinfo}@" if userinfo else "sentinel://"
    urls = [f"{start}{host}{current_services.path}" for host in hosts.split(",")]
    own = dict(found.own_options) | (_use_ssl(found.options) if found.tls else {})
    options = {"master_name": found.master_name, "sentinel_kwargs": own}
    return Broker(";".join(urls), _use_ssl(found.options) if found.tls else False, options)


def _use_ssl(options: Mapping[str, Any]) -> dict[str, Any]:
    """TLS options in the words of kombu; whatever is not said otherwise, the server's certificate is checked."""
    chosen = {word: value for word, value in options.items() if word.startswith("ssl_")}
    wanted = chosen.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if wanted not in _CERTIFICATE_WORDS:
        raise WrongUrl("ssl_cert_reqs must be none, optional or required")
    return chosen | {"ssl_cert_reqs": _CERTIFICATE_WORDS[wanted]}


def _host(text: str) -> tuple[str, int]:
    """One host and its port."""
    current_services = urlsplit(f"//{text}")
    try:
        port = current_services.port or _SENTINEL_PORT
    except ValueError:
        raise WrongUrl(_UNREADABLE) from None
    if not current_services.hostname:
        raise WrongUrl("a sentinel:// URL must name hosts, as in sentinel://one:26379,two:26379/0?master_name=…")
    return current_services.hostname, port
