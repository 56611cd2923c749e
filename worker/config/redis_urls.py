"""URLs of Redis and the broker: one form for users, converted to the forms that redis-py and kombu need.

URLs are parsed here and not by `urllib.parse.urlsplit`, which raises in some releases of Python (3.11.2) for
several hosts of which one is an IPv6 address.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from redis.connection import parse_url

#: The port where none is given.
_SENTINEL_PORT = 26379
_SENTINEL_SCHEMES = {"sentinel": "redis", "sentinel+tls": "rediss"}
_REDIS_SCHEMES = ("redis", "rediss", "unix")
_CERTIFICATE_WORDS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_UNREADABLE = "it cannot be read: write special characters of the password as %40 and the like"
_SENTINEL_WORDS = ("sentinel_username", "sentinel_password")
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:/\s]+))(?::(?P<port>\d{1,5}))?")
_WRONG_DATABASE = (
    "the database must be a number, as in redis://host:6379/0 or unix:///path/redis.sock?db=0; "
    "write a / in the password as %2F"
)
_LAST_PORT = 65535


class WrongUrl(ValueError):
    """A URL cannot be used; the message does not contain it, since it holds a password."""


@dataclass(frozen=True, slots=True)
class Sentinels:
    """The sentinels that know which server is the master at present."""

    hosts: tuple[tuple[str, int], ...]
    master_name: str
    #: redis-py's options for connections to the master, without its address.
    options: Mapping[str, Any] = field(repr=False)
    #: The same for connections to a sentinel.
    sentinel_options: Mapping[str, Any] = field(repr=False)
    tls: bool


@dataclass(frozen=True, slots=True)
class Broker:
    """The broker as kombu needs it: the URL, and the options that do not fit into one."""

    url: str = field(repr=False)
    use_ssl: dict[str, Any] | bool = False
    options: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_redis(self) -> bool:
        """Is the broker Redis?"""
        return is_redis(self.url)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of a URL: scheme, ``user:password`` as written, hosts (may be empty), path with its slash, query."""

    scheme: str
    userinfo: str
    hosts: str
    path: str
    query: str

    @classmethod
    def of(cls, url: str) -> _Parts:
        scheme, _, rest = url.partition("://")
        rest, _, query = rest.partition("?")
        authority, slash, path = rest.partition("/")
        userinfo, _, hosts = authority.rpartition("@")
        return cls(scheme, userinfo, hosts, slash + path, query)


def sentinels(url: str) -> Sentinels | None:
    """Read ``sentinel://[user:password@]host[:port],host[:port]/database?master_name=name``; None for another scheme.

    With ``sentinel+tls`` both the sentinels and the servers are reached by TLS.

    Raises:
        WrongUrl: what is wrong; without the URL, which holds a password.
    """
    parts = _Parts.of(url)
    if parts.scheme not in _SENTINEL_SCHEMES:
        return None
    query = dict(parse_qsl(parts.query))
    name = query.pop("master_name", "")
    if not name:
        raise WrongUrl("a sentinel:// URL must end in ?master_name=… as the sentinels call the master")
    sentinel_options = {word.removeprefix("sentinel_"): query.pop(word) for word in _SENTINEL_WORDS if word in query}
    tls = parts.scheme == "sentinel+tls"
    as_redis = f"{_SENTINEL_SCHEMES[parts.scheme]}://{parts.userinfo}@localhost{parts.path}?{urlencode(query)}"
    options = _redis_options(as_redis)
    for word in ("host", "port", "connection_class"):
        options.pop(word, None)
    sentinel_options |= (
        {"ssl": True} | {word: value for word, value in options.items() if word.startswith("ssl_")} if tls else {}
    )
    return Sentinels(tuple(_host(text) for text in parts.hosts.split(",")), name, options, sentinel_options, tls)


def is_redis(url: str) -> bool:
    """Is this a URL of Redis, in our form or in kombu's?"""
    return url.startswith(("redis", "unix", "sentinel", "consumed-"))


def check_redis_url(url: str) -> None:
    """Check that this is a URL of Redis.

    Raises:
        WrongUrl: what is wrong; without the URL, which holds a password.
    """
    if sentinels(url) is None:
        if _Parts.of(url).scheme not in _REDIS_SCHEMES:
            raise WrongUrl("it must begin with redis://, rediss://, unix:// or sentinel://")
        _redis_options(url)


def broker(url: str) -> Broker:
    """Return the broker for kombu, from a URL of Redis in our form or an AMQP URL.

    Raises:
        WrongUrl: as ``check_redis_url``.
    """
    addresses = sentinels(url)
    if addresses is not None:
        return _broker_of_sentinels(addresses)
    scheme = _Parts.of(url).scheme
    if scheme not in _REDIS_SCHEMES:
        return Broker(url)
    options = _redis_options(url)
    user, database = _userinfo(options), options.get("db", 0)
    if scheme == "unix":
        return Broker(f"redis+socket://{user}{quote(options['path'])}?{urlencode({'virtual_host': database})}")
    host = options.get("host", "localhost")
    where = f"[{host}]" if ":" in host else host
    # kombu does not verify certificates by default.
    tls = _use_ssl(options) if scheme == "rediss" else False
    return Broker(f"{scheme}://{user}{where}:{options.get('port', 6379)}/{database}", tls)


def _redis_options(url: str) -> dict[str, Any]:
    """The options that redis-py reads from a URL in its form."""
    parts = _Parts.of(url)
    if parts.scheme != "unix":
        # redis-py silently uses database 0 where the path is not a number.
        if parts.path.strip("/") and not parts.path.strip("/").isdecimal():
            raise WrongUrl(_WRONG_DATABASE)
        if parts.hosts:
            _host(parts.hosts)
    elif not parts.path.strip("/"):
        raise WrongUrl("a unix:// URL must name the socket, as in unix:///run/redis/redis.sock?db=0")
    if not dict(parse_qsl(parts.query, keep_blank_values=True)).get("db", "0").isdecimal():
        raise WrongUrl(_WRONG_DATABASE)
    try:
        options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError:
        raise WrongUrl(_UNREADABLE) from None
    return options


def _broker_of_sentinels(addresses: Sentinels) -> Broker:
    user, database = _userinfo(addresses.options), addresses.options.get("db", 0)
    hosts = [(f"[{host}]" if ":" in host else host, port) for host, port in addresses.hosts]
    urls = [f"sentinel://{user}{host}:{port}/{database}" for host, port in hosts]
    sentinel_kwargs = dict(addresses.sentinel_options) | (_use_ssl(addresses.options) if addresses.tls else {})
    options = {"master_name": addresses.master_name, "sentinel_kwargs": sentinel_kwargs}
    return Broker(";".join(urls), _use_ssl(addresses.options) if addresses.tls else False, options)


def _userinfo(options: Mapping[str, Any]) -> str:
    """``user:password@`` as a URL has it; empty where there is neither."""
    user, password = options.get("username") or "", options.get("password") or ""
    return f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""


def _use_ssl(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return TLS options for kombu; the server's certificate is verified unless ``ssl_cert_reqs`` says otherwise."""
    chosen = {word: value for word, value in options.items() if word.startswith("ssl_")}
    requirement = chosen.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if requirement not in _CERTIFICATE_WORDS:
        raise WrongUrl("ssl_cert_reqs must be none, optional or required")
    return chosen | {"ssl_cert_reqs": _CERTIFICATE_WORDS[requirement]}


def _host(text: str) -> tuple[str, int]:
    """One host and its port."""
    match = _HOST.fullmatch(text)
    if match is None or int(match["port"] or 0) > _LAST_PORT:
        raise WrongUrl("each host must be a name or an address, with a port or without: one:26379,two,[::1]:26379")
    return match["v6"] or match["name"].lower(), int(match["port"] or _SENTINEL_PORT)
