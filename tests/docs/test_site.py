"""The manual as a site: it builds without a warning, holds the whole API, and loads nothing from elsewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.docs import openapi, reference
from worker.catalog.problem_types import PROBLEM_TYPES

_TOP = Path(__file__).resolve().parents[2]
#: What a browser would fetch by itself.
_FETCHED = re.compile(
    r"""<(?:script|img|link|iframe)\b[^>]*?\b(?:src|href)=["'](?:https?:)?//|@import|url\(["']?https?:"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "-b", "html",
         "-d", str(folder / "doctrees"), "docs", str(folder / "html")],
        cwd=_TOP, check=False, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "html"


def test_every_page_can_be_reached_from_the_first(site: Path) -> None:
    first = (site / "index.html").read_text()
    pages = list((_TOP / "docs").glob("*.md"))
    assert len(pages) > 10
    for page in pages:
        assert (site / f"{page.stem}.html").is_file()
        assert f'href="{page.stem}.html"' in first or page.stem == "index", page.name


def test_no_page_loads_files_of_other_hosts(site: Path) -> None:
    files = [path for path in site.rglob("*") if path.suffix in {".html", ".css"}]
    assert len(files) > 10
    assert [path.name for path in files if _FETCHED.search(path.read_text())] == []


def test_the_site_can_be_published_as_it_is(site: Path) -> None:
    assert (site / ".nojekyll").exists()
    assert json.loads((site / "openapi.json").read_text())["openapi"].startswith("3.1")


def test_the_reference_has_every_route_schema_and_problem(site: Path) -> None:
    document = openapi.document()
    text = reference.markdown(document)
    page = (site / "reference.html").read_text()
    for path, item in document["paths"].items():
        for method in item.keys() & {"get", "post", "put", "patch", "delete"}:
            assert f"### {method.upper()} {path}\n" in text
            assert item[method]["operationId"] in page
    for code in ("outcome-unknown", "queue-full", "validation-failed"):
        assert f"| `{code}` |" in text
    assert "### Volume\n" in text


def test_the_reference_states_roles_required_fields_and_retryable_problems() -> None:
    document = openapi.document()
    text = reference.markdown(document)
    operations = [
        each
        for item in document["paths"].values()
        for each in item.values()
        if isinstance(each, dict) and "x-role" in each
    ]
    assert len(operations) > 10
    for each in operations:
        assert f"Operation `{each['operationId']}`, role {each['x-role']}" in text
    schemas = document["components"]["schemas"].values()
    needed = {name for schema in schemas if "properties" in schema for name in schema.get("required", ())}
    assert needed
    assert {name for name in needed if f"| `{name}` (needed) |" not in text} == set()
    retried = {code for code, kind in PROBLEM_TYPES.items() if kind.retryable}
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|.*\| yes \|$", text, re.MULTILINE)) == retried
