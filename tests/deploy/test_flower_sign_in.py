"""Flower signs in at the provider by what an overlay for a cluster says, and by nothing else."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from deploy.kubernetes.make_secrets import make
from tests.deploy.manifests import has_kubectl, main_container, of_kind, rendered
from tests.identity_provider.directory import Client, User
from tests.identity_provider.fixtures import CLIENT_SECRET, provider
from tests.identity_provider.provider import IdentityProvider
from tests.worker.flower.test_flower_access import flower

__all__ = ["provider"]

pytestmark = pytest.mark.skipif(not has_kubectl(), reason="kubectl is not here")


def rendered_settings(overlay: str) -> dict[str, str]:
    """The environment of Flower's container."""
    manifests = rendered(overlay)
    container = main_container(of_kind(manifests, "Deployment")["flower"])
    maps = of_kind(manifests, "ConfigMap")
    settings: dict[str, str] = {}
    for source in container["envFrom"]:
        settings |= maps[source["configMapRef"]["name"]]["data"]
    return settings | {variable["name"]: variable["value"] for variable in container["env"]}


def mount_secret(folder: Path, redis_url: str) -> None:
    """The files of Flower's secret as ``make_secrets.py`` makes it, and as the manual completes it."""
    (secret,) = [manifest["stringData"] for manifest in make() if manifest["metadata"]["name"] == "flower"]
    for name, value in (secret | {"oauth_secret_key": CLIENT_SECRET}).items():
        (folder / name).write_text(redis_url if name in {"redis_url", "broker_url"} else value, "utf-8")


class Browser:
    """Comes by the route, which ends TLS: cookies that are for HTTPS only are sent on."""

    def __init__(self, address: str, public: str) -> None:
        self._address = address
        self._headers = {"Host": urlsplit(public).netloc, "X-Forwarded-Proto": "https"}
        self._cookies: dict[str, str] = {}

    def get(self, path: str) -> requests.Response:
        response = requests.get(
            self._address + path, headers=self._headers, cookies=self._cookies, allow_redirects=False, timeout=20
        )
        self._cookies |= response.cookies.get_dict()
        return response


@pytest.mark.parametrize("overlay", ["test", "prod"])
def test_flower_on_a_cluster_signs_in_at_the_provider(
    overlay: str, redis_url: str, provider: IdentityProvider, tmp_path: Path
) -> None:
    settings = rendered_settings(overlay)
    public = settings["SAPI_FLOWER_URL"]
    (route,) = [
        candidate
        for candidate in of_kind(rendered(overlay), "Route").values()
        if candidate["spec"]["to"]["name"] == "flower" and public == f"https://{candidate['spec']['host']}"
    ]
    assert route["spec"]["tls"]["insecureEdgeTerminationPolicy"] == "Redirect"
    mount_secret(tmp_path, redis_url)
    provider.users = {"anna": User("anna"), "adam": User("adam", [settings["SAPI_ROLE_ADMIN_GROUPS"]])}
    client_id = settings["SAPI_OAUTH_CLIENT_ID"]
    provider.clients = {client_id: Client(client_id, CLIENT_SECRET, [f"{public}/login"])}
    settings |= {
        "SAPI_SECRETS_DIR": str(tmp_path),
        "SAPI_OAUTH_DISCOVERY_URL": f"{provider.issuer}/.well-known/openid-configuration",
    }
    with flower(redis_url, **settings) as address:
        for user, expected in (("anna", 403), ("adam", 302)):
            browser = Browser(address, public)
            assert browser.get("/broker").headers["Location"].startswith("/login")
            form = browser.get("/login").headers["Location"]
            back = requests.post(form, data={"user": user}, allow_redirects=False, timeout=20).headers["Location"]
            assert back.startswith(f"{public}/login?")
            assert browser.get(back.removeprefix(public)).status_code == expected
            assert browser.get("/broker").status_code == (200 if user == "adam" else 302)
