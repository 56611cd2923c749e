"""The cluster's release of ONTAP: read once, and refused when it is too old."""

from __future__ import annotations

from storage_backends.errors import NotSupported, StorageError
from storage_backends.journal import Journal
from storage_backends.netapp.ontap.client import OntapClient
from storage_backends.netapp.ontap.error_codes import is_forbidden
from storage_backends.netapp.ontap.fields import Fields

#: In earlier releases, REST has no locks and cannot restrict a volume.
OLDEST = (9, 10, 1)
_FIELDS = ("version.generation", "version.major", "version.minor")


class Release:
    """The cluster's release, if the account may read it."""

    def __init__(self, client: OntapClient) -> None:
        self._client = client
        self._version: tuple[int, int, int] | None = None
        #: Some accounts of one SVM may not read it.
        self._is_hidden = False

    def require_supported(self, journal: Journal) -> None:
        """Return unless the release is known to be too old.

        Raises:
            NotSupported: it is.
            StorageError: the filer does not answer.
        """
        if self._version is None and not self._is_hidden:
            self._read(journal)
        if self._version is not None and self._version < OLDEST:
            raise NotSupported(
                f"The storage system runs ONTAP {_text(self._version)}; {_text(OLDEST)} is the oldest"
                " release that the service can use. Upgrade it."
            )

    def _read(self, journal: Journal) -> None:
        try:
            fields = Fields(self._client.get("/cluster", journal=journal))
        except StorageError as refusal:
            if not is_forbidden(refusal) and refusal.code != "not-found":
                raise
            self._is_hidden = True
            return
        known = [number for name in _FIELDS if (number := fields.number(name)) is not None]
        if len(known) == len(_FIELDS):
            generation, major, minor = known
            self._version = (generation, major, minor)


def _text(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))
