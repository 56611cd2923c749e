"""Every file, folder and module of the project that the manual names exists."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from deploy.docs.screenshots import pages_of

_TOP = Path(__file__).resolve().parents[2]
_PAGES = sorted([*(_TOP / "docs").glob("*.md"), _TOP / "README.md"])
_PACKAGES = "api|worker|storage_backends|deploy|tests|client"
_FILE = re.compile(rf"`((?:{_PACKAGES})/[\w./-]+)`")
#: A program that is named without its folder.
_NAME = re.compile(r"`(\w+\.(?:py|lua|sh|acl))`")
_MODULE = re.compile(r"`((?:api|worker|storage_backends)(?:\.[a-z_]+)+)`")


_NAMES = {path.name for package in _PACKAGES.split("|") for path in (_TOP / package).rglob("*.*")}


def _made_on(text: str) -> set[str]:
    """The files that the examples of a page make."""
    return set(re.findall(r"^# (\w+\.py)$", text, re.MULTILINE))


def _is_there(module: str) -> bool:
    parent, _, _ = module.rpartition(".")
    try:
        return find_spec(module) is not None or (find_spec(parent) is not None and parent.count(".") > 0)
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_files_named_in_pages_exist(page: Path):
    text = page.read_text()
    files = {
        name
        for name in _FILE.findall(text)
        if "<" not in name and not name.endswith(".env") and not (_TOP / name).exists()
    }
    files |= set(_NAME.findall(text)) - _NAMES - _made_on(text)
    modules = {name for name in _MODULE.findall(text) if not name.endswith(".env") and not _is_there(name)}
    assert files | modules == set()


def test_the_manual_names_many_files():
    text = "".join(page.read_text() for page in _PAGES)
    assert len(_FILE.findall(text)) > 20
    assert len(_MODULE.findall(text)) > 5
    assert len(_NAME.findall(text)) > 10


def test_pictures_are_those_made_by_the_program() -> None:
    pages = {f"console-{name}.png" for name in pages_of("failed", "waiting")}
    pictures = re.findall(r"\(_static/(console-[a-z-]+\.png)\)", (_TOP / "docs" / "console.md").read_text("utf-8"))
    assert sorted(pictures) == sorted(pages)
    assert {path.name for path in (_TOP / "docs" / "_static").glob("console-*.png")} == pages
