"""The certified `oidc-provider` of npm, where Node is installed: an implementation independent of Authlib."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from tests.identity_provider.fixtures import CLIENT_ID, CLIENT_SECRET

CALLBACK = "http://localhost/oauth-done"
ROBOT, ROBOT_SECRET = "robot", "the secret of the robot"
_HERE = Path(__file__).parent / "node"
#: Is ignored by git, and on the same file system.
_BUILD = Path(__file__).parents[2] / "build"
_INSTALL_LIMIT_S = 60


@dataclass(frozen=True)
class CertifiedProvider:
    """A running one."""

    issuer: str

    def token(self, **form: str) -> str:
        """An access token for the robot."""
        data = {"grant_type": "client_credentials"} | form
        answer = requests.post(f"{self.issuer}/token", data=data, auth=(ROBOT, ROBOT_SECRET), timeout=20)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def sign_in(self, leaving: str, user: str) -> str:
        """Sign in as ``user`` in the forms to which the address ``leaving`` leads; where one is sent back to."""
        browser, address = requests.Session(), leaving
        for _ in range(20):
            answer = browser.get(address, allow_redirects=False, timeout=20)
            while "Location" in answer.headers:
                address = urljoin(answer.url, answer.headers["Location"])
                if address.startswith(CALLBACK):
                    return address
                answer = browser.get(address, allow_redirects=False, timeout=20)
            assert answer.status_code == 200, answer.text
            form = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
            step = re.search(r'name="prompt" value="(\w+)"', answer.text)
            assert form, answer.text
            assert step, answer.text
            filled = {"prompt": step[1], "login": user, "password": "any"}
            sent = browser.post(urljoin(answer.url, form[1]), data=filled, allow_redirects=False, timeout=20)
            address = urljoin(sent.url, sent.headers["Location"])
        raise AssertionError(f"the provider never led back, last to {address}")


@pytest.fixture(scope="module")
def certified_provider() -> Iterator[CertifiedProvider]:
    """With users adam (admins), uma (uber admins) and everybody else, and a machine that is an admin."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no Node")
    _install()
    variables = {"CLIENT_ID": CLIENT_ID, "CLIENT_SECRET": CLIENT_SECRET, "REDIRECT_URI": CALLBACK}
    with subprocess.Popen(
        [node, "server.js"],
        cwd=_HERE,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            issuer = process.stdout.readline().strip()
            if not issuer.startswith("http://127.0.0.1:"):
                pytest.fail("the provider does not start: node tests/identity_provider/node/server.js says why")
            yield CertifiedProvider(issuer)
        finally:
            process.kill()


def _install() -> None:
    """Install the package as the lock file has it, unless it is there."""
    if (_HERE / "node_modules" / "oidc-provider" / "package.json").exists():
        return
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("oidc-provider is not installed, and there is no npm")
    _BUILD.mkdir(exist_ok=True)
    # Installed elsewhere and moved here whole: nothing half is left by what is cut off, or done twice at once.
    with tempfile.TemporaryDirectory(dir=_BUILD) as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_HERE / name, folder)
        try:
            done = subprocess.run(
                [npm, "ci", "--silent"], cwd=folder, capture_output=True, timeout=_INSTALL_LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not install oidc-provider in time")
        if done.returncode:
            pytest.skip("npm could not install oidc-provider")
        with suppress(OSError):  # Another process was faster.
            (Path(folder) / "node_modules").rename(_HERE / "node_modules")
