"""Signs in and out, and stores the credentials."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from storage_api_client.addresses import is_loopback
from storage_api_client.blocking.client import Client
from storage_api_client.blocking.driver import Driver
from storage_api_client.cli.exit_status import ExitStatus
from storage_api_client.cli.failures import print_error
from storage_api_client.cli.state import State, Stop
from storage_api_client.configuration.credentials_file import CredentialsFile
from storage_api_client.configuration.files import ConfigurationError
from storage_api_client.configuration.service_settings import ServiceSettings
from storage_api_client.protocol.messages import Flow, Request, send
from storage_api_client.sign_in import oauth
from storage_api_client.sign_in.session import session_cookie
from storage_api_client.sign_in.static_credentials import bearer
from storage_api_client.sign_in.stored_credentials import stored_credentials

Entry = dict[str, Any]
_DEFAULT_SCOPE = "openid profile email offline_access"


def sign_in(
    state: State,
    *,
    issuer: str | None,
    client_id: str | None,
    scope: str | None,
    audience: str | None,
    browser: bool,
    client_credentials: bool,
    basic: str | None,
) -> None:
    """Sign in, check the credentials with the service, and store them."""
    service = state.service
    driver = Driver(service.url, service.ca_file)
    try:
        issuer = issuer or service.profile.issuer
        announced = (
            oauth.ResourceMetadata() if basic or issuer else driver.run(oauth.get_resource_metadata(service.url))
        )
        issuer = issuer or announced.issuer
        if basic:
            entry: Entry = {
                "kind": "basic",
                "user": basic,
                "password": _secret("STORAGE_API_PASSWORD", "Password"),
            }
        elif issuer:
            metadata = driver.run(oauth.discover(issuer))
            secret = _secret("STORAGE_API_CLIENT_SECRET", "Client secret") if client_credentials else None
            who = client_id or service.profile.client_id or announced.client_id or _needed("--client-id")
            requested_scope = scope or service.profile.scope or ("" if client_credentials else _DEFAULT_SCOPE)
            provider = oauth.Provider(
                metadata, who, secret, requested_scope, audience or service.profile.audience or announced.audience
            )
            entry = _with_provider(state, driver, provider, browser=browser, client_credentials=client_credentials)
        else:
            entry = _with_session(driver, service)
    except oauth.OAuthError as error:
        print_error(str(error))
        raise Stop(ExitStatus.NOT_AUTHORISED) from None
    finally:
        driver.close()
    _keep(state, entry)


def _needed(option: str) -> str:
    raise click.UsageError(f"Name {option}, or write it into the profile in config.toml.")


def _secret(variable: str, what: str) -> str:
    if value := os.environ.get(variable):
        return value
    if not sys.stdin.isatty():
        raise click.UsageError(f"{what}: nobody is there to ask; set {variable}.")
    return str(click.prompt(what, hide_input=True, err=True))


def _with_session(driver: Driver, service: ServiceSettings) -> Entry:
    cookie = driver.run(session_cookie()) if is_loopback(service.url) else None
    if cookie is None:
        raise ConfigurationError(
            f"How to sign in at {service.url}? Name its identity provider with --issuer and --client-id, or in a "
            "profile of config.toml; or use --basic USER, or a token in STORAGE_API_TOKEN."
        )
    return {"kind": "session", "cookie": cookie}


def _with_provider(
    state: State, driver: Driver, provider: oauth.Provider, *, browser: bool, client_credentials: bool
) -> Entry:
    if client_credentials:
        tokens = driver.run(oauth.client_credentials(provider))
        return {**oauth.renewal_fields(provider, "client_credentials"), **tokens}
    if provider.has_device_flow and not browser:
        tokens = driver.run(oauth.device_flow(provider, lambda *arguments: _show_device(state, *arguments)))
    else:
        tokens = _with_browser(state, driver, provider)
    return {**oauth.renewal_fields(provider, "user"), **tokens}


def _show_device(state: State, url: str, code: str, complete: str | None) -> None:
    state.note(f"Open {url} on any device and enter the code {code}")
    if complete:
        state.note(f"or open {complete}")


def _with_browser(state: State, driver: Driver, provider: oauth.Provider) -> Entry:
    import threading
    import webbrowser

    from storage_api_client.sign_in.loopback import LoopbackServer

    with LoopbackServer() as server:
        request = oauth.authorization_request(provider, server.redirect_uri)
        state.note(f"Sign in at\n{request.url}")
        # A browser may run in the foreground until it is closed.
        threading.Thread(target=webbrowser.open, args=(request.url,), daemon=True).start()
        query = server.wait()
        if query is None:
            raise oauth.OAuthError("Nobody signed in in time.")
        return driver.run(oauth.exchange_code(provider, request, query))


def _keep(state: State, entry: Entry) -> None:
    """Store new credentials in the place of the stored ones, unless the service refuses them."""
    service = state.service
    whole = {"profile": service.profile.name, "url": service.url, **entry}
    file = CredentialsFile()
    # Not as stored credentials: those would be renewed with the tokens stored so far, which may be another user's.
    new = bearer(entry["access_token"]) if entry["kind"] == "oauth" else stored_credentials(whole, file)
    with Client(service.url, credentials=new, ca_file=service.ca_file) as api:
        roles = api.roles()
    file.store(whole)
    state.note(f"Signed in at {service.url}; roles: {', '.join(roles) or 'none'}.")


def sign_out(state: State) -> None:
    """End the session, and delete the stored credentials."""
    service = state.service
    if service.entry and service.entry.get("kind") == "session":
        driver = Driver(service.url, service.ca_file)
        try:
            driver.run(_end_session(str(service.entry.get("cookie"))))
        finally:
            driver.close()
    was_signed_in = CredentialsFile().forget(service.profile.name, service.url)
    state.note(f"Signed out at {service.url}." if was_signed_in else f"You were not signed in at {service.url}.")


def _end_session(cookie: str) -> Flow[None]:
    yield from send(Request("POST", "/logout", headers={"Cookie": cookie}))


def how_signed_in(service: ServiceSettings) -> dict[str, str]:
    """Return how one is signed in, and the user name as far as it is known here."""
    if os.environ.get("STORAGE_API_TOKEN"):
        return {"signed_in": "STORAGE_API_TOKEN", "user": _name_in(os.environ["STORAGE_API_TOKEN"])}
    entry: Mapping[str, Any] = service.entry or {}
    user = str(entry.get("user", "")) or _name_in(str(entry.get("access_token", "")))
    return {"signed_in": str(entry.get("kind", "no")), "user": user or ("developer" if entry.get("cookie") else "")}


def _name_in(token: str) -> str:
    """The name in a JSON Web Token, for display only; the service verifies it."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims.get("preferred_username") or claims.get("sub") or "")
    except (IndexError, ValueError, AttributeError):
        return ""
