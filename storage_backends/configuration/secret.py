"""A secret of a storage system, reread from its file whenever that is replaced."""

from __future__ import annotations

from pathlib import Path


class UnreadableSecretFile(ValueError):
    """The file cannot be read; the message says why, without its contents."""


class Secret:
    """A secret given as text or in a file; not shown by ``repr``."""

    def __init__(self, value: str, *, file: Path | None = None) -> None:
        """``value``: the current content of ``file``; without a file it never changes."""
        #: The absolute path of its file.
        self.file = None if file is None else file.absolute()
        self._last = value

    @classmethod
    def from_file(cls, file: Path) -> Secret:
        """Read a secret from a file that contains only that, with an optional end of line.

        Raises:
            UnreadableSecretFile: it cannot be read.
        """
        return cls(_read(file), file=file)

    def current(self) -> str:
        """Return the secret from its file; while that cannot be read or is empty, the last one."""
        if self.file is not None:
            try:
                self._last = _read(self.file) or self._last
            except UnreadableSecretFile:
                return self._last
        return self._last

    def __repr__(self) -> str:
        return "Secret()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self._last, self.file) == (other._last, other.file)

    __hash__ = None  # type: ignore[assignment]  # It changes.


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise UnreadableSecretFile(str(error.strerror)) from None
    except ValueError:
        raise UnreadableSecretFile("it is not UTF-8 text") from None
