"""Each way to sign in, with a real identity provider, and what is stored."""

from __future__ import annotations

import json
import stat
import sys
import textwrap
import threading
import time

import pytest
import requests
from tests.e2e.own_stack import PASSWORD, USER
from tests.identity_provider.directory import Client, User
from tests.identity_provider.fixtures import CLIENT_ID, CLIENT_SECRET
from tests.identity_provider.provider import IdentityProvider

from conftest import BACKENDS
from proxy import answer, proxied

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

ADMIN = "it db, admins"


@pytest.fixture(scope="module")
def provider():
    """A provider with a program for its users' machines, and a machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
        running = IdentityProvider()
        running.audience = CLIENT_ID
        running.users = {"adam": User("adam", [ADMIN]), "anna": User("anna")}
        running.clients = {
            CLIENT_ID: Client(CLIENT_ID, CLIENT_SECRET),
            "program": Client("program", "", public=True),
            "machine": Client("machine", "machine secret", groups=[ADMIN]),
        }
        running.start()
        yield running
        running.stop()


@pytest.fixture(scope="module")
def url(stack, provider):
    """The service, as an API process beside the others that knows the provider."""
    settings = {
        "SAPI_OAUTH_DISCOVERY_URL": f"{provider.issuer}/.well-known/openid-configuration",
        "SAPI_OAUTH_CLIENT_ID": CLIENT_ID,
        "SAPI_OAUTH_SECRET_KEY": CLIENT_SECRET,
        "SAPI_OAUTH_PUBLIC_CLIENT_ID": "program",
        "SAPI_ROLE_ADMIN_GROUPS": f'"{ADMIN}"',
        "AUTHLIB_INSECURE_TRANSPORT": "1",
    }
    address = stack.processes.serve("api-with-provider", "api.wsgi:app", workers=1, SAPI_BACKENDS=BACKENDS, **settings)
    yield f"http://{address}"
    stack.processes.end("api-with-provider")


@pytest.fixture
def program(bare, url, provider):
    """The command line, which knows the service and its provider."""
    folder = bare.home / "storage-api"
    folder.mkdir()
    profile = f'[profiles.default]\nurl = "{url}"\nissuer = "{provider.issuer}"\nclient_id = "program"\n'
    (folder / "config.toml").write_text(profile)
    provider.has_device_flow = True
    return bare


def stored(program):
    [entry] = json.loads((program.home / "storage-api" / "credentials.json").read_text())
    return entry


def change(program, **values):
    entry = stored(program) | values
    (program.home / "storage-api" / "credentials.json").write_text(json.dumps([entry]))


def sign_in_on_a_device(program, provider, user="adam", **answer):
    command = program.start("login")
    assert command.stderr is not None
    code = command.stderr.readline().strip().rpartition(" ")[2]
    form = {"user_code": code, "user": user} | (answer or {"allow": "yes"})
    assert requests.post(f"{provider.issuer}/device", data=form, timeout=20).status_code == 200
    _, output = command.communicate(timeout=30)
    return command.returncode, output


def test_the_device_flow(program, provider):
    assert sign_in_on_a_device(program, provider)[0] == 0
    who = program("whoami", "-o", "json").json
    assert (who["user"], who["roles"]) == ("adam", ["USER", "ADMIN"])
    assert stat.S_IMODE((program.home / "storage-api" / "credentials.json").stat().st_mode) == 0o600


def test_the_service_says_where_to_sign_in(program, provider, url):
    (program.home / "storage-api" / "config.toml").write_text(f'[profiles.default]\nurl = "{url}"\n')
    status, output = sign_in_on_a_device(program, provider)
    assert status == 0, output
    assert program("whoami", "-o", "json").json["user"] == "adam"


def test_metadata_of_another_service_is_refused(program, url):
    elsewhere = url.replace("127.0.0.1", "localhost")
    with proxied(url) as proxy:
        body = json.dumps({"resource": elsewhere, "authorization_servers": ["https://evil.example"]})
        proxy.answers.append(answer("200 OK", body, kind="application/json"))
        (program.home / "storage-api" / "config.toml").unlink()
        ended = program("--url", proxy.url, "login")
    assert (ended.status, "use that address" in ended.err) == (4, True)


def test_a_refused_device_sign_in_fails(program, provider):
    status, output = sign_in_on_a_device(program, provider, deny="yes")
    assert (status, "refuses" in output) == (4, True)
    assert not (program.home / "storage-api" / "credentials.json").exists()


def browser(program, tmp_path, code):
    """A program in the place of a browser: it gets the address, and runs ``code``."""
    script = tmp_path / "browser.py"
    script.write_text("import sys, requests\nurl = sys.argv[1]\n" + textwrap.dedent(code))
    program.environment["BROWSER"] = f"{sys.executable} {script} %s"


def test_the_authorization_code_with_a_browser_on_this_machine(program, provider, tmp_path):
    provider.has_device_flow = False
    browser(program, tmp_path, "requests.post(url, data={'user': 'adam'}, timeout=20)")
    command = program.start("login")
    _, output = command.communicate(timeout=30)
    assert command.returncode == 0, output
    assert program("whoami", "-o", "json").json["user"] == "adam"
    assert stored(program)["refresh_token"]


def test_a_foreign_callback_is_refused(program, provider, tmp_path):
    provider.has_device_flow = False
    browser(
        program,
        tmp_path,
        """
        from urllib.parse import parse_qs, urlsplit
        asked = parse_qs(urlsplit(url).query)
        requests.get(asked["redirect_uri"][0], params={"code": "stolen", "state": "other"}, timeout=20)
        """,
    )
    command = program.start("login")
    _, output = command.communicate(timeout=30)
    assert command.returncode == 4
    assert "not the answer" in output


def test_an_expiring_token_is_renewed_once_by_all_processes(program, provider):
    sign_in_on_a_device(program, provider)
    before = stored(program)
    change(program, expires_at=time.time() - 1)
    provider.request_counts.clear()
    commands = [program.start("whoami", "-o", "json") for _ in range(3)]
    assert [command.communicate(timeout=30)[0] != "" for command in commands] == [True] * 3
    assert [command.returncode for command in commands] == [0] * 3
    assert provider.request_counts["/token"] == 1
    assert stored(program)["refresh_token"] != before["refresh_token"]


def test_a_refused_token_is_renewed(program, provider, name):
    sign_in_on_a_device(program, provider)
    change(program, access_token="x." + stored(program)["access_token"].partition(".")[2])
    assert program("volume", "create", "dummy", name).status == 0


def test_a_failed_renewal_says_to_sign_in(program, provider):
    sign_in_on_a_device(program, provider)
    change(program, access_token="x.y.z", refresh_token="stolen")
    refused = program("whoami")
    assert refused.status == 4
    assert "storage-api login" in refused.err


def test_4_a_missing_role(program, provider):
    sign_in_on_a_device(program, provider, user="anna")
    refused = program("volume", "create", "dummy", "v")
    assert refused.status == 4
    assert "ADMIN" in refused.err
    assert program("whoami", "--role", "ADMIN").status == 4


def test_a_machine_signs_in(program, provider):
    program.environment["STORAGE_API_CLIENT_SECRET"] = "machine secret"
    assert program("login", "--client-credentials", "--client-id", "machine").status == 0
    del program.environment["STORAGE_API_CLIENT_SECRET"]
    # Scopes for users are not requested by a machine.
    assert "scope" not in stored(program)
    change(program, expires_at=time.time() - 1)
    assert program("whoami", "-o", "json").json["roles"] == ["USER", "ADMIN"]


def test_a_token_of_the_environment_is_used(bare, provider, url):
    bare.environment = {"STORAGE_API_URL": url, "STORAGE_API_TOKEN": provider.token(groups=[ADMIN])}
    assert bare("whoami", "-o", "json").json["roles"] == ["USER", "ADMIN"]


def test_another_issuer_is_refused(program, provider):
    with proxied(provider.issuer) as proxy:
        other = program("login", "--issuer", proxy.url)
    assert other.status == 4
    assert "check the issuer" in other.err


def test_a_provider_without_tls_gets_no_secrets(program):
    plain = program("login", "--issuer", "http://login.example.org")
    assert plain.status == 4
    assert "https" in plain.err


def test_the_session_of_a_development_server_is_renewed_by_itself(bare, stack):
    bare.environment = {"STORAGE_API_URL": stack.url}
    assert bare("login").status == 0
    cookie = stored(bare)["cookie"]
    requests.post(f"{stack.url}/logout", headers={"Cookie": cookie}, allow_redirects=False, timeout=20)
    assert bare("whoami", "-o", "json").json["roles"] == ["USER", "ADMIN", "UBER_ADMIN"]
    assert stored(bare)["cookie"] != cookie
    assert bare("logout").status == 0
    assert bare("volume", "create", "dummy", "v").status == 4


def test_stored_credentials_are_sent_to_their_service_only(bare, stack):
    bare.environment = {"STORAGE_API_URL": stack.url, "STORAGE_API_PASSWORD": PASSWORD}
    bare("login", "--basic", USER)
    with proxied(stack.url) as proxy:
        bare("--url", proxy.url, "whoami")
        assert b"user-agent" in proxy.seen.lower()
        assert b"authorization" not in proxy.seen.lower()


def test_profiles(bare, stack, name):
    folder = bare.home / "storage-api"
    folder.mkdir()
    (folder / "config.toml").write_text(
        f'default_profile = "here"\n[profiles.here]\nurl = "{stack.url}"\noutput = "json"\n'
        f'[profiles.away]\nurl = "http://127.0.0.1:9"\n'
    )
    assert bare("subsystem", "list").json == ["dummy", "slow", "away"]
    assert bare("subsystem", "list", "-o", "name").out.split() == ["dummy", "slow", "away"]
    assert bare("--profile", "away", "status").status == 75
    assert bare("status", "--profile", "away").status == 75
    bare.environment["STORAGE_API_PROFILE"] = "away"
    assert bare("status").status == 75
    (folder / "config.toml").write_text("[profiles.default]\nuri = 'x'\n")
    wrong = bare("--profile", "default", "status")
    assert (wrong.status, "uri" in wrong.err) == (2, True)


def test_the_development_server_of_this_checkout_is_found(bare, stack):
    (bare.home / "api.url").write_text(f"{stack.url}\n")
    assert bare("subsystem", "list").status == 0
    (bare.home / "api.url").write_text("http://storage.example.org\n")
    assert bare("subsystem", "list").status == 2


def test_signing_in_is_not_needed_to_look(bare, stack):
    bare.environment = {"STORAGE_API_URL": stack.url}
    listed = bare("volume", "list", "dummy", "-o", "name")
    assert (listed.status, len(listed.out.split()) > 5) == (0, True)


def test_threads_may_share_a_client(api):
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.append(len(list(api.subsystem("dummy").volumes.list(limit=3)))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert counts == [3] * 8
