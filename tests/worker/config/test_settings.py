"""What follows from the settings of a process, and in which words a wrong one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import BaseSettings

from api.settings import ApiSettings
from api.v3.settings import V3Settings
from worker.config.json_encoding import as_json
from worker.config.networks import client_address, network_of, parse_networks
from worker.config.role_groups import groups_in
from worker.config.settings import LONGEST_S, BadSettings, Settings, load
from worker.config.sign_in_settings import SignInSettings
from worker.flower.settings import FlowerSettings
from worker.webhooks.settings import WebhookSettings

_REDIS = "redis://127.0.0.1:6379/0"


@pytest.mark.parametrize(
    ("limit", "of_user", "of_strangers"), [(1000, 700, 200), (10, 7, 2), (3, 3, 1), (4, 3, 1), (1, 1, 1)]
)
def test_shares_of_a_queue_are_at_least_one(limit: int, of_user: int, of_strangers: int):
    settings = load(Settings, queue_limit=limit)
    assert (settings.user_queue_limit, settings.strangers_queue_limit) == (of_user, of_strangers)


@pytest.mark.parametrize(
    ("values", "broker", "is_in_transaction"),
    [
        ({}, _REDIS, True),
        ({"broker_url": _REDIS}, _REDIS, True),
        ({"wait_replicas": 1}, _REDIS, False),
        ({"broker_url": "redis://127.0.0.1:6379/1"}, "redis://127.0.0.1:6379/1", False),
        ({"broker_url": "amqp://u:p@host/v"}, "amqp://u:p@host/v", False),
    ],
)
def test_messages_are_enqueued_with_their_record_only_in_its_own_redis(
    values: dict[str, Any], broker: str, is_in_transaction: bool
):
    settings = load(Settings, redis_url=_REDIS, **values)
    assert (settings.broker, settings.enqueues_in_transaction) == (broker, is_in_transaction)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cache_fresh": 61, "cache_keep": 60}, "settings: SAPI_CACHE_KEEP must not be shorter than SAPI_CACHE_FRESH"),
        ({"SAPI_DEBUG": "perhaps"}, "SAPI_DEBUG: Input should be a valid boolean"),
        ({"lease": 2}, "SAPI_LEASE: Input should be greater than or equal to 3"),
        ({"callback_hosts": "a/b"}, "SAPI_CALLBACK_HOSTS: 'a/b' is neither"),
        ({"job_keep": 3_153_600_001}, "SAPI_JOB_KEEP: Input should be less than or equal to 3153600000"),
        ({"broker_url": "sentinel://host/0"}, "SAPI_BROKER_URL: a sentinel:// URL must end in"),
    ],
)
def test_an_invalid_setting_is_reported_with_valid_values(values: dict[str, Any], words: str):
    with pytest.raises(BadSettings) as refused:
        load(Settings, **values)
    assert str(refused.value).startswith(words)


@pytest.mark.parametrize(
    "settings", [Settings, ApiSettings, WebhookSettings, SignInSettings, V3Settings, FlowerSettings]
)
def test_empty_variables_are_not_set(settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch):
    names = [f"SAPI_{name.upper()}" for name in settings.model_fields]
    assert names
    for name in names:
        monkeypatch.delenv(name, raising=False)
    defaults = load(settings)
    for name in names:
        monkeypatch.setenv(name, "")
    assert load(settings) == defaults


@pytest.mark.parametrize("settings", [ApiSettings, FlowerSettings])
def test_an_invalid_url_of_flower_is_reported(settings: type[BaseSettings]):
    for url in ("https://[::1", "https://flower.example.org:99999", "flower.example.org"):
        with pytest.raises(BadSettings, match=r"^SAPI_FLOWER_URL: "):
            load(settings, flower_url=url)


def test_the_length_of_times_is_limited():
    """Those beyond the year 9999 cannot be written, nor those that Redis cannot count in milliseconds."""
    longest = {
        name: [limit.le for limit in field.metadata if hasattr(limit, "le")]
        for settings in (Settings, ApiSettings, SignInSettings, FlowerSettings)
        for name, field in settings.model_fields.items()
        if "_keep" in name or name.endswith(("_timeout", "_ttl", "_max", "_idle", "_lifetime", "_fresh", "_stale"))
    }
    assert {"job_keep", "old_listing_ttl", "events_max", "session_idle", "session_lifetime"} < longest.keys()
    assert [name for name, limits in longest.items() if not limits or limits[0] > LONGEST_S] == []


def test_invalid_networks_of_proxies_are_reported():
    with pytest.raises(BadSettings, match=r"^settings: SAPI_TRUSTED_NETWORKS: 'ten'"):
        load(SignInSettings, trusted_networks="10.0.0.0/8, ten")


def test_a_binary_secret_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "url").write_bytes(b"\xff")
    monkeypatch.setenv("SAPI_REDIS_URL_FILE", str(tmp_path / "url"))
    with pytest.raises(BadSettings, match=r"^SAPI_REDIS_URL_FILE: cannot read .*: it is no UTF-8 text$"):
        load(Settings)


def test_white_space_around_a_secret_in_a_file_is_stripped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "redis_url").write_text(" \tredis://127.0.0.1:6379/7 \r\n\n")
    monkeypatch.delenv("SAPI_REDIS_URL", raising=False)
    for variable, path in (("SAPI_SECRETS_DIR", tmp_path), ("SAPI_REDIS_URL_FILE", tmp_path / "redis_url")):
        monkeypatch.setenv(variable, str(path))
        assert load(Settings).redis_url.get_secret_value() == "redis://127.0.0.1:6379/7"
        monkeypatch.delenv(variable)


def test_a_file_in_the_folder_of_secrets_is_not_read_where_the_variable_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "redis_url").mkdir()
    monkeypatch.setenv("SAPI_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("SAPI_REDIS_URL", "redis://127.0.0.1:6379/7")
    assert load(Settings).redis_url.get_secret_value() == "redis://127.0.0.1:6379/7"
    monkeypatch.delenv("SAPI_REDIS_URL")
    with pytest.raises(BadSettings, match=r"^SAPI_SECRETS_DIR: cannot read .*redis_url"):
        load(Settings)


def test_a_copy_may_be_kept_no_longer_than_it_is_fresh():
    assert load(Settings, cache_fresh=60, cache_keep=60).cache_stale == 3600


@pytest.mark.parametrize(
    ("claims", "claim", "groups"),
    [
        ({"groups": ["a", 1, "b"]}, "groups", ("a", "b")),
        ({"groups": "a"}, "groups", ("a",)),
        ({"groups": 7}, "groups", ()),
        ({}, "groups", None),
        ({"realm": {"roles": ["a"]}}, "realm.roles", ("a",)),
        ({"realm": ["roles"]}, "realm.roles", None),
        ({"https://x.example/roles": ["a"]}, "https://x.example/roles", ("a",)),
    ],
)
def test_groups_of_a_claim(claims: dict[str, Any], claim: str, groups: tuple[str, ...] | None):
    assert groups_in(claims, claim) == groups


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.9", "192.0.2.9/32"), ("::ffff:192.0.2.9", "192.0.2.9/32"), ("2001:db8::1:2", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"), ("nonsense", "unknown"), (None, "unknown"),
    ],
)  # fmt: skip
def test_the_network_that_counts_as_one_client(address: str | None, network: str):
    assert network_of(address) == network


def test_the_client_is_the_last_address_that_is_no_proxy():
    networks = parse_networks(["10.0.0.1/8", "2001:db8::/32"])
    chain = "1.1.1.1, 203.0.113.9, 10.2.2.2, 10.1.1.1"
    for hops, address in ((0, "203.0.113.9"), (1, "10.1.1.1"), (2, "10.2.2.2"), (3, "203.0.113.9"), (4, "203.0.113.9")):
        assert client_address("10.0.0.9", chain, networks, hops) == address
    assert client_address("192.0.2.1", chain, networks) == "192.0.2.1"
    assert client_address("2001:db8::7", "203.0.113.9, nonsense", networks) == "2001:db8::7"
    assert client_address("10.0.0.9", "", networks) == "10.0.0.9"
    # As some proxies write it.
    for forwarded, address in (
        ("203.0.113.9:51234", "203.0.113.9"),
        ("[2001:db9::9]:51234, 10.0.0.8:80", "2001:db9::9"),
        ("[2001:db9::9]", "2001:db9::9"),
        ("203.0.113.9:", "10.0.0.9"),
        ("[203.0.113.9", "10.0.0.9"),
    ):
        assert client_address("10.0.0.9", forwarded, networks) == address, forwarded
    assert client_address("fe80::1%eth0", "203.0.113.9", parse_networks(["fe80::/10"])) == "203.0.113.9"


def test_values_that_orjson_does_not_take_are_json_all_the_same():
    assert as_json({"a": [1, "\udc80"]}) == b'{"a": [1, "\\udc80"]}'
    assert as_json({"a": 2**70, "b": {1}}, default=list) == b'{"a": 1180591620717411303424, "b": [1]}'
