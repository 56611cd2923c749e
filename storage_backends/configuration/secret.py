"""A secret of a storage system, read again from its file whenever that is replaced."""

from __future__ import annotations

from pathlib import Path


class UnreadableSecretFile(ValueError):
    """The file cannot be read; the message says why and holds nothing of it."""


class Secret:
    """A secret that was given as it is, or that stands in a file of its own; never shown."""

    def __init__(self, value: str, *, file: Path | None = None) -> None:
        """Keep ``value``, what ``file`` holds now; without a file it never changes."""
        #: The file that holds it, as an absolute path.
        self.file = None if file is None else file.absolute()
        self._last = value

    @classmethod
    def from_file(cls, file: Path) -> Secret:
        """Read a secret that stands alone in a file, but for one end of line.

        Raises:
            UnreadableSecretFile: it cannot be read.
        """
        return cls(_read(file), file=file)

    def current(self) -> str:
        """Return the secret as its file holds it now; while that cannot be read or is empty, as it was last."""
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
