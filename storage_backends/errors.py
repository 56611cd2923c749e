"""What can go wrong with storage, in the service's own words.

StorageError                  backend-error        the storage system refused, for a reason that we do not model
├── InvalidRequest            validation-failed    the arguments can never work on this storage system
├── NotFound
│   ├── NoSuchVolume          no-such-volume
│   ├── NoSuchSnapshot        no-such-snapshot
│   └── NoSuchPolicy          no-such-policy
├── Conflict
│   ├── AlreadyExists         already-exists       the name or junction path is taken
│   ├── LockHeld              lock-held            another host holds the lock
│   ├── PolicyInUse           policy-in-use        a volume still uses the export policy
│   ├── ResourceBusy          resource-busy        another operation is under way on the object
│   ├── NotADataVolume        not-a-data-volume    a copy, or the root of the namespace: shown, never changed
│   └── TooManySnapshots      too-many-snapshots   the storage system's limit is reached
├── NotSupported              not-supported        this storage system cannot do it
├── BackendUnavailable        backend-unavailable  it could not be reached, and nothing was sent to it
├── BackendTimeout            backend-timeout      it was asked something harmless and did not answer in time
└── OutcomeUnclear            outcome-unknown      a change was sent and no answer came: look before anything else
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class BackendError:
    """The storage system's own error: its code (ONTAP's is a number) and message, without host names."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class FieldError:
    """One argument that is wrong: a JSON pointer such as ``/size_total``, and why."""

    pointer: str
    detail: str


class StorageError(Exception):
    """The storage system refused, for a reason that we do not model."""

    code: ClassVar[str] = "backend-error"
    #: May the same request of the *client* succeed later without changes?
    retryable: bool = False
    #: May the *service* retry it? Only if nothing of the change has happened.
    transient: bool = False

    def __init__(
        self,
        detail: str,
        *,
        backend_error: BackendError | None = None,
        errors: tuple[FieldError, ...] = (),
        transient: bool | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.backend_error = backend_error
        self.errors = errors
        if transient is not None:
            self.transient = transient
        if retryable is not None:
            self.retryable = retryable


class InvalidRequest(StorageError):
    """The arguments can never work on this storage system."""

    code = "validation-failed"


class NotFound(StorageError):
    """The requested object does not exist."""

    code = "not-found"


class NoSuchVolume(NotFound):
    """There is no such volume, or it is restricted."""

    code = "no-such-volume"


class NoSuchSnapshot(NotFound):
    """The volume has no snapshot of that name."""

    code = "no-such-snapshot"


class NoSuchPolicy(NotFound):
    """There is no export policy of that name."""

    code = "no-such-policy"


class Conflict(StorageError):
    """The state of the object forbids it."""

    code = "resource-busy"


class AlreadyExists(Conflict):
    """The name or the junction path is taken."""

    code = "already-exists"


class LockHeld(Conflict):
    """Another host holds the lock."""

    code = "lock-held"


class PolicyInUse(Conflict):
    """A volume still uses the export policy."""

    code = "policy-in-use"


class ResourceBusy(Conflict):
    """Another operation is under way on the object; refused, and nothing was changed."""

    code = "resource-busy"
    retryable = True
    transient = True


class NotADataVolume(Conflict):
    """The volume is a copy that the storage system keeps, or the root of its namespace: shown, never changed."""

    code = "not-a-data-volume"


class TooManySnapshots(Conflict):
    """The storage system's limit of snapshots is reached."""

    code = "too-many-snapshots"


class NotSupported(StorageError):
    """This storage system cannot do it."""

    code = "not-supported"


class BackendUnavailable(StorageError):
    """The storage system could not be reached, and nothing of a change was sent to it."""

    code = "backend-unavailable"
    retryable = True
    transient = True


class BackendTimeout(StorageError):
    """The storage system was asked something harmless and did not answer in time."""

    code = "backend-timeout"
    retryable = True


class OutcomeUnclear(StorageError):
    """A change was sent and no response came. The job is reconciled by probing; it is never just sent again."""

    code = "outcome-unknown"


def _tree(cls: type[StorageError]) -> list[type[StorageError]]:
    return [cls, *(descendant for child in cls.__subclasses__() for descendant in _tree(child))]


#: Every code a driver may raise.
CODES: frozenset[str] = frozenset(cls.code for cls in _tree(StorageError))
