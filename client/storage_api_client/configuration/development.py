"""The development server of the checkout that one is in."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from storage_api_client.addresses import checked_url, is_loopback

_FILE = "api.url"


def find_development_server() -> str | None:
    """Return the address of the running development server of this folder or one above it; None: there is none."""
    for folder in _folders():
        if url := _address_in(folder / _FILE):
            return url if _answers(url) else None
    return None


def _folders() -> list[Path]:
    if name := os.environ.get("SAPI_DEV_FOLDER"):
        return [Path(name)]
    try:
        here = Path.cwd()
    except OSError:
        return []  # It has been deleted.
    return [folder / ".dev" for folder in (here, *here.parents)]


def _address_in(file: Path) -> str | None:
    try:
        # Whoever else may write a file above us must not choose where we send requests.
        if file.stat().st_uid != os.getuid():
            return None
        url = checked_url(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, AttributeError):
        return None
    return url if is_loopback(url) else None


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 80), timeout=0.5).close()
    except OSError:
        return False
    return True
