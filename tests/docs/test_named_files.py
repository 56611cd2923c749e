"""Every file, folder and module of the project that the manual names exists."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

_TOP = Path(__file__).resolve().parents[2]
_PAGES = sorted([*(_TOP / "docs").glob("*.md"), _TOP / "README.md"])
_PACKAGES = "api|worker|storage_backends|deploy|tests|client"
_FILE = re.compile(rf"`((?:{_PACKAGES})/[\w./-]+)`")
_MODULE = re.compile(r"`((?:api|worker|storage_backends)(?:\.[a-z_]+)+)`")


def _is_there(module: str) -> bool:
    parent, _, _ = module.rpartition(".")
    try:
        return find_spec(module) is not None or (find_spec(parent) is not None and parent.count(".") > 0)
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_what_a_page_names_exists(page: Path):
    text = page.read_text()
    files = {
        name
        for name in _FILE.findall(text)
        if "<" not in name and not name.endswith(".env") and not (_TOP / name).exists()
    }
    modules = {name for name in _MODULE.findall(text) if not name.endswith(".env") and not _is_there(name)}
    assert files | modules == set()


def test_the_manual_names_files_and_modules():
    text = "".join(page.read_text() for page in _PAGES)
    assert len(_FILE.findall(text)) > 20
    assert len(_MODULE.findall(text)) > 5
