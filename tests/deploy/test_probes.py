"""What probes, load balancers and people are to ask: the manual says on every page what the files say."""

from __future__ import annotations

import re

import pytest

from tests.deploy.manifests import has_kubectl, main_container, of_kind, rendered
from tests.deploy.stack import ROOT


def test_a_load_balancer_asks_whether_the_process_lives() -> None:
    """A front end without Redis answers 503 with Retry-After, which is better than no answer from anybody."""
    documented = []
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text("utf-8")
        addresses = re.findall(r"`(/healthz|/readyz)`[^`]*?load balancer", text)
        addresses += re.findall(r"load\s+balancers?\W[^`.]*\basks?\s+`(/[a-z]+)`", text)
        addresses += re.findall(r"load\s+balancer, which asks `(/[a-z]+)`", text)
        documented += [(page.name, address) for address in addresses]
    assert len({page for page, _ in documented}) >= 3
    assert {address for _, address in documented} == {"/healthz"}


@pytest.mark.skipif(not has_kubectl(), reason="kubectl is not here")
def test_the_files_ask_the_same() -> None:
    api = main_container(of_kind(rendered("prod"), "Deployment")["api"])
    assert {api[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")} == {
        "/healthz"
    }
    assert "GET /healthz HTTP" in (ROOT / "Dockerfile.api").read_text("utf-8")
