"""What is configured wrongly is said in one line; no secret is shown by anything that shows settings."""

from __future__ import annotations

import pytest

from api.auth import AuthSettings
from api.auth.setup import _warn
from tests.api.front_end import FrontEnd, problem
from worker.catalog.operations import Role
from worker.config.settings import BadSettings, Settings, load
from worker.flower.settings import FlowerSettings

SECRETS = {
    "SAPI_SECRET_KEY": "secret-key-canary-0123456789",
    "SAPI_SECRET_KEY_FALLBACKS": "old-key-canary-1,old-key-canary-2",
    "SAPI_OAUTH_SECRET_KEY": "oauth-canary",
    "SAPI_BASIC_AUTH_PASSWORD": "basic-canary",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("SAPI_SECRET_KEY", "0123456789abcdef0123456789abcdef")
    return monkeypatch


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("", ()),
        (" , ,", ()),
        ("it-db", ("it-db",)),
        ("it db storage, others ,x", ("it db storage", "others", "x")),
        ('"it, db", plain, "a ""quoted"" name"', ("it, db", "plain", 'a "quoted" name')),
        ("O'Brien's group, naïve 🦄", ("O'Brien's group", "naïve 🦄")),
        ("a,a", ("a",)),
    ],
)
def test_group_lists(environment, written, names):
    environment.setenv("SAPI_ROLE_ADMIN_GROUPS", written)

    assert load(AuthSettings).groups_of[Role.ADMIN] == names


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SAPI_SECRET_KEY", "", "SAPI_SECRET_KEY must be set"),
        ("SAPI_SECRET_KEY", "x" * 15, "too short"),
        (
            "SAPI_SECRET_KEY_FALLBACKS",
            "0123456789abcdef, the old key",
            "SAPI_SECRET_KEY_FALLBACKS has a key that is too",
        ),
        ("SAPI_ROLE_USER_GROUPS", '"open', "SAPI_ROLE_USER_GROUPS"),
        ("SAPI_OAUTH_TOKEN_URL", "http://provider.example.org/token", "https"),
        ("SAPI_OAUTH_DISCOVERY_URL", "provider.example.org", "SAPI_OAUTH_DISCOVERY_URL"),
        ("SAPI_OAUTH_ALGORITHMS", "RS256,HS256", "HS256"),
        ("SAPI_OAUTH_ALGORITHMS", "none", "none"),
        ("SAPI_OAUTH_JWKS_URL", "https://provider.example.org/jwks", "SAPI_OAUTH_ISSUER"),
        ("SAPI_OAUTH_CALLBACK_URL_RELATIVE", "https://evil.example.org", "SAPI_OAUTH_CALLBACK_URL_RELATIVE"),
        ("SAPI_OAUTH_CALLBACK_URL_RELATIVE", "//done", "SAPI_OAUTH_CALLBACK_URL_RELATIVE"),
        ("SAPI_OAUTH_CALLBACK_URL_RELATIVE", "/a/../done", "SAPI_OAUTH_CALLBACK_URL_RELATIVE"),
        *(
            ("SAPI_OAUTH_TOKEN_URL", url, "SAPI_OAUTH_TOKEN_URL must be an http(s) URL")
            for url in ("https://[::1/token", "https://a.example.org:99999/", "https://a.example.org:0/")
        ),
        ("SAPI_OAUTH_TOKEN_URL", "ftp://a.example.org/", "SAPI_OAUTH_TOKEN_URL must be an http(s) URL"),
        ("SAPI_OAUTH_TOKEN_URL", "https:///token", "SAPI_OAUTH_TOKEN_URL must be an http(s) URL"),
        ("SAPI_PUBLIC_URL", "https://[::1", "SAPI_PUBLIC_URL"),
        ("SAPI_PUBLIC_URL", "https://example.org:99999", "SAPI_PUBLIC_URL"),
        ("SAPI_PUBLIC_URL", "https://example.org:http/", "SAPI_PUBLIC_URL"),
        ("SAPI_PUBLIC_URL", "https://:443", "SAPI_PUBLIC_URL"),
        ("SAPI_PUBLIC_URL", "https://example.org//storage", "SAPI_PUBLIC_URL"),
        ("SAPI_PUBLIC_URL", "https://example.org/../storage", "SAPI_PUBLIC_URL"),
        ("SAPI_RATE_LIMIT", "many", "SAPI_RATE_LIMIT"),
        ("SAPI_RATE_LIMIT", "0/minute", "SAPI_RATE_LIMIT"),
        ("SAPI_BASIC_AUTH_USERNAME", "a:b", "SAPI_BASIC_AUTH_USERNAME"),
        ("SAPI_BASIC_AUTH_ROLES", "ROOT", "SAPI_BASIC_AUTH_ROLES"),
        ("SAPI_TRUSTED_PROXIES", "-1", "SAPI_TRUSTED_PROXIES"),
        ("SAPI_SESSION_LIFETIME", "eight hours", "SAPI_SESSION_LIFETIME"),
        ("SAPI_SESSION_LIFETIME", "99999999999999", "SAPI_SESSION_LIFETIME"),
    ],
)
def test_errors_are_reported_in_one_line(environment, name, value, message):
    environment.setenv(name, value)

    with pytest.raises(BadSettings) as caught:
        load(AuthSettings)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://example.org/", "http://[::1]:8000", "http://example.org", "https://example.org:/storage/api/", ""]
)
def test_the_public_url_may_have_a_port_and_a_path(environment, url):
    environment.setenv("SAPI_PUBLIC_URL", url)
    assert load(AuthSettings).public_url == url


@pytest.mark.parametrize("path", ["/login", "/logout", "/healthz", "/console/", "/console", "/v3/done", "/v4/jobs"])
def test_the_redirect_url_may_not_be_another_route(redis_url, path):
    with pytest.raises(BadSettings, match=f"SAPI_OAUTH_CALLBACK_URL_RELATIVE: {path} is"):
        FrontEnd(redis_url, auth={"oauth_callback_url_relative": path}).stranger()


def test_the_redirect_url_may_be_any_unused_path(redis_url):
    front_end = FrontEnd(redis_url, auth={"oauth_callback_url_relative": "/.auth/done/"})
    problem(front_end.stranger().get("/.auth/done/"), 403, "sign-in-unavailable")


@pytest.mark.parametrize(
    "settings",
    [
        {"secret_key": "x" * 16},
        {"secret_key": "", "SAPI_DEBUG": True},
        {"secret_key_fallbacks": "x" * 16},
        *({"oauth_token_url": f"http://{host}/token"} for host in ("127.0.0.1:8080", "localhost", "[::1]:8080")),
        {"oauth_token_url": "http://provider.example.org/token", "SAPI_DEBUG": True},
        {"oauth_jwks_url": "https://a.example.org/keys", "oauth_discovery_url": "https://a.example.org/metadata.json"},
        {"oauth_jwks_url": "https://a.example.org/keys", "oauth_issuer": "https://a.example.org"},
    ],
    ids=str,
)
def test_valid_combinations_of_settings_are_accepted(settings):
    assert load(AuthSettings, **settings).model_fields_set >= settings.keys() - {"SAPI_DEBUG"}


@pytest.mark.parametrize("flask_debug", ["0", "1"])
def test_the_name_of_flask_does_not_switch_debug_mode_on_where_ours_is_set(environment, flask_debug):
    environment.setenv("FLASK_DEBUG", flask_debug)
    assert load(AuthSettings).debug is (flask_debug == "1")
    environment.setenv("SAPI_DEBUG", "0")
    assert load(AuthSettings).debug is False


@pytest.mark.parametrize(("rate", "is_limit"), [("", False), ("0", False), (" Off ", False), ("1/day", True)])
def test_changes_may_be_unlimited(rate, is_limit):
    assert load(AuthSettings, rate_limit=rate).limits_submits is is_limit


@pytest.mark.parametrize(
    ("settings", "asks"),
    [
        ({}, True),
        ({"oauth_token_url": "https://a.example.org/token"}, False),
        ({"oauth_discovery_url": "https://a.example.org/metadata.json"}, False),
        ({"oauth_discovery_url": "https://a.example.org/x", "oauth_groups_url": "https://a.example.org/groups"}, True),
    ],
)
def test_the_default_groups_url_is_not_used_with_another_provider(settings, asks):
    """Whoever names another provider does not send its tokens to the default one."""
    assert load(AuthSettings, **settings).asks_groups_url is asks


def test_the_defaults_are_those_of_the_predecessor():
    settings = load(AuthSettings)

    assert settings.oauth_token_url == "https://oauth.web.cern.ch/OAuth/Token"
    assert settings.oauth_authorize_url == "https://oauth.web.cern.ch/OAuth/Authorize"
    assert settings.oauth_groups_url == "https://oauthresource.web.cern.ch/api/Groups"
    assert settings.oauth_callback_url_relative == "/oauth-done"


def test_every_setting_has_a_description():
    assert all(field.description for field in AuthSettings.model_fields.values())


def test_secrets_are_not_in_representations(environment):
    for name, value in SECRETS.items():
        environment.setenv(name, value)
    settings = load(AuthSettings)

    assert "canary" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    environment.setenv("SAPI_SESSION_LIFETIME", "x")
    with pytest.raises(BadSettings) as caught:
        load(AuthSettings)
    assert "canary" not in str(caught.value)


class TestSecretFiles:
    def test_a_secret_may_be_read_from_a_file(self, environment, tmp_path):
        path = tmp_path / "secret"
        path.write_text("redis://:from-a-file@127.0.0.1/0\n")
        environment.setenv("SAPI_REDIS_URL_FILE", str(path))

        assert load(Settings).redis_url.get_secret_value() == "redis://:from-a-file@127.0.0.1/0"

    def test_a_list_of_secrets_may_be_read_from_a_file(self, environment, tmp_path):
        path = tmp_path / "secret"
        keys = ["the-first-of-two-keys", "the-second-of-two-keys"]
        path.write_text("\n".join([*keys, ""]))
        environment.setenv("SAPI_SECRET_KEY_FALLBACKS_FILE", str(path))

        assert [key.get_secret_value() for key in load(AuthSettings).secret_key_fallbacks] == keys

    def test_a_secret_given_both_ways_is_refused(self, environment, tmp_path):
        environment.setenv("SAPI_SECRET_KEY_FILE", str(tmp_path))

        with pytest.raises(BadSettings, match="SAPI_SECRET_KEY and SAPI_SECRET_KEY_FILE are both set"):
            load(AuthSettings)

    def test_a_missing_file_is_named(self, environment, tmp_path):
        environment.setenv("SAPI_REDIS_URL_FILE", str(tmp_path / "missing"))

        with pytest.raises(BadSettings, match=r"SAPI_REDIS_URL_FILE: cannot read .*missing"):
            load(Settings)

    def test_unset_secrets_are_read_from_the_folder_of_secrets(self, environment, tmp_path):
        environment.setenv("SAPI_SECRETS_DIR", str(tmp_path))
        (tmp_path / "oauth_secret_key").write_text("from the folder\n")
        (tmp_path / "secret_key").write_text("0" * 64)
        (tmp_path / "redis_url").write_text("redis://:from-the-folder@127.0.0.1/0")
        environment.setenv("SAPI_REDIS_URL", "redis://:from-the-variable@127.0.0.1/0")

        assert load(AuthSettings).oauth_secret_key.get_secret_value() == "from the folder"
        assert load(Settings).redis_url.get_secret_value() == "redis://:from-the-variable@127.0.0.1/0"

    def test_a_file_of_its_own_goes_before_the_folder(self, environment, tmp_path):
        environment.setenv("SAPI_SECRETS_DIR", str(tmp_path))
        (tmp_path / "redis_url").write_text("redis://:from-the-folder@127.0.0.1/0")
        (tmp_path / "own").write_text("redis://:own@127.0.0.1/0")
        environment.setenv("SAPI_REDIS_URL_FILE", str(tmp_path / "own"))

        assert load(Settings).redis_url.get_secret_value() == "redis://:own@127.0.0.1/0"

    def test_only_secrets_are_read_from_files(self, environment, tmp_path):
        path = tmp_path / "x"
        path.write_text("true")
        environment.setenv("SAPI_DEBUG_FILE", str(path))

        assert not load(AuthSettings).debug


class TestNamesOfThePredecessor:
    @pytest.fixture(autouse=True)
    def old(self, environment):
        environment.setenv("BASIC_AUTH_USERNAME", "old-user")
        environment.setenv("BASIC_AUTH_PASSWORD", "old-password")
        environment.setenv("SAPI_OAUTH_ACCESS_TOKEN_URL", "https://old.example.org/token")

    def test_old_names_are_read_where_the_new_ones_are_not_set(self):
        settings = load(AuthSettings)
        assert settings.has_basic
        # Flower lets the same user in.
        for each in (settings, load(FlowerSettings)):
            assert (each.basic_auth_username, each.oauth_token_url) == ("old-user", "https://old.example.org/token")
            assert each.basic_auth_password.get_secret_value() == "old-password"

    def test_new_names_take_precedence_over_old_ones(self, environment, tmp_path):
        environment.setenv("SAPI_BASIC_AUTH_USERNAME", "new-user")
        environment.setenv("SAPI_OAUTH_TOKEN_URL", "https://new.example.org/token")
        (tmp_path / "password").write_text("new-password")
        environment.setenv("SAPI_BASIC_AUTH_PASSWORD_FILE", str(tmp_path / "password"))
        settings = load(AuthSettings)
        assert settings.basic_auth_username == "new-user"
        assert settings.basic_auth_password.get_secret_value() == "new-password"
        assert settings.oauth_token_url == "https://new.example.org/token"

    @pytest.mark.parametrize("in_file", [False, True])
    def test_the_use_of_old_names_is_logged_at_the_start(self, environment, caplog, tmp_path, in_file):
        environment.setenv("SAPI_BASIC_AUTH_USERNAME", "new-user")
        if in_file:
            (tmp_path / "password").write_text("new-password")
            environment.setenv("SAPI_BASIC_AUTH_PASSWORD_FILE", str(tmp_path / "password"))
        _warn(load(AuthSettings))
        warnings = [
            record.getMessage() for record in caplog.records if "is read in the place of" in record.getMessage()
        ]
        others = [] if in_file else ["BASIC_AUTH_PASSWORD"]
        assert sorted(line.split()[0] for line in warnings) == [*others, "SAPI_OAUTH_ACCESS_TOKEN_URL"]
        assert "old-password" not in caplog.text


_PASSWORD = {"basic_auth_username": "ann", "basic_auth_password": "open"}
_GROUPS = {"role_admin_groups": "a", "role_uber_admin_groups": "b"}


@pytest.mark.parametrize(
    ("options", "begins"),
    [
        ({}, []),
        ({"SAPI_DEBUG": True}, ["DEBUG MODE"]),
        ({"trusted_proxies": 1}, ["SAPI_TRUSTED_PROXIES counts for nothing"]),
        ({"trusted_proxies": 1, "trusted_networks": "10.0.0.0/8"}, []),
        ({"basic_auth_username": "ann"}, ["HTTP Basic is off"]),
        (_PASSWORD, ["No group has the role ADMIN, UBER_ADMIN"]),
        (_PASSWORD | {"role_admin_groups": "a"}, ["No group has the role UBER_ADMIN"]),
        (_PASSWORD | _GROUPS, []),
        (_PASSWORD | {"SAPI_DEBUG": True}, ["DEBUG MODE"]),
    ],
    ids=str,
)
def test_ignored_settings_are_logged_at_the_start(caplog, options, begins):
    _warn(load(AuthSettings, **options))
    warnings = [record.getMessage() for record in caplog.records]
    assert [warning.startswith(words) for warning, words in zip(warnings, begins, strict=True)] == [True] * len(begins)
