"""Chromium for the tests of pages: its headless shell where that is installed, which takes half of the CPU."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_PROGRAM = next(filter(None, map(shutil.which, _NAMES)), None)
_ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]

#: A test that needs a browser is skipped where there is none.
needs_chromium = pytest.mark.skipif(
    _PROGRAM is None, reason="there is no Chromium (Debian: chromium-headless-shell or chromium)"
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=_PROGRAM, args=_ARGUMENTS)
        try:
            yield started
        finally:
            started.close()
