"""``credentials.json``, which nobody else may read: what was stored by signing in, by profile and service."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from storage_api_client.configuration.files import ConfigurationError, folder

Entry = dict[str, Any]


class CredentialsFile:
    """Entries ``{"profile", "url", "kind", …}``; the one that was stored last comes last."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or folder() / "credentials.json"

    def entries(self) -> list[Entry]:
        """Return all entries.

        Raises:
            ConfigurationError: the file cannot be read.
        """
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{self.path} cannot be read ({error}); delete it, and sign in again") from error
        return [entry for entry in document if isinstance(entry, dict)] if isinstance(document, list) else []

    def find(self, profile: str, url: str | None = None) -> Entry | None:
        """Return what is stored for a profile and service; without ``url`` for the one that was stored last.

        Credentials for one address are never given out for another.
        """
        fitting = [
            entry for entry in self.entries() if entry.get("profile") == profile and url in (None, entry.get("url"))
        ]
        return dict(fitting[-1]) if fitting else None

    def store(self, entry: Entry) -> None:
        """Store an entry in the place of the one for the same profile and service."""
        with self._exclusive():
            self._write([*self._without(entry), entry])

    def forget(self, profile: str, url: str) -> bool:
        """Delete an entry; False when there was none."""
        if self.find(profile, url) is None:
            return False
        with self._exclusive():
            self._write(self._without({"profile": profile, "url": url}))
        return True

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Let no other process store anything between reading the file and writing it."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Nobody else may hold it either.
        lock = os.open(self.path.with_suffix(".write-lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            # Where there are no locks, nothing is exclusive.
            with suppress(ImportError, OSError):
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _without(self, entry: Mapping[str, Any]) -> list[Entry]:
        same = (entry["profile"], entry["url"])
        return [other for other in self.entries() if (other.get("profile"), other.get("url")) != same]

    def _write(self, entries: list[Entry]) -> None:
        """Whole or not at all, and never readable for others, not even for a moment."""
        handle, draft = tempfile.mkstemp(dir=self.path.parent, prefix=".credentials-")  # made with mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(entries, file, indent=1)
            os.replace(draft, self.path)  # noqa: PTH105 - a name, as mkstemp has it
        except OSError:
            with suppress(OSError):
                os.unlink(draft)  # noqa: PTH108 - likewise
            raise
