"""Translates ONTAP's errors: a table by ONTAP code; messages are cleaned of host names and accounts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from storage_backends.configuration.secret import Secret
from storage_backends.errors import (
    AlreadyExists,
    BackendError,
    BackendUnavailable,
    FieldError,
    InvalidRequest,
    NoSuchPolicy,
    NoSuchSnapshot,
    NoSuchVolume,
    NotFound,
    NotSupported,
    OutcomeUnclear,
    PolicyInUse,
    ResourceBusy,
    StorageError,
    TooManySnapshots,
)
from storage_backends.netapp.ontap.mapping import CLONE_FIELDS, SNAPSHOT_FIELDS
from storage_backends.netapp.ontap.responses import OntapError

LOGIN_REFUSED = "The storage system refused the service's login."


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of a code: the error to raise, its message, and the argument that caused it."""

    kind: type[StorageError]
    detail: str
    pointer: str = ""
    #: May the service retry? None: as in the error's class.
    transient: bool | None = None
    #: May the same request succeed later? None: as in the error's class.
    retryable: bool | None = None


_BAD = partial(Meaning, InvalidRequest)
_BUSY = Meaning(ResourceBusy, "Another operation is under way on the object.")
#: Conditions that do not change by waiting.
_LASTING = partial(Meaning, ResourceBusy, transient=False, retryable=False)
_BAD_RULE = _BAD("The storage system does not accept the rule.", "/rules")
_DENIED = Meaning(StorageError, "The service's account lacks a right on the storage system.")
_NO_SVM = Meaning(BackendUnavailable, "The storage system does not have the configured vserver.")
_AWAY = Meaning(BackendUnavailable, "The storage system is too busy to answer now.")

#: By ONTAP's error code. All others are ``backend-error``.
MEANINGS: Mapping[int, Meaning] = {
    # --- of the REST machinery
    1: Meaning(AlreadyExists, "There is one of that name already."),
    2: _BAD("The storage system does not accept a value."),
    4: Meaning(NotFound, "The storage system does not have it."),
    6: _DENIED,
    7: _AWAY,
    8: _BUSY,
    262160: _AWAY,
    262177: _BAD("The storage system does not know a field."),
    262179: _BAD("The storage system does not know an argument."),
    262185: _BAD("The storage system does not accept a value."),
    262186: _BAD("The storage system does not accept a field."),
    262196: _BAD("A field cannot be set here."),
    262197: _BAD("The storage system does not accept a value."),
    262198: _BAD("The storage system does not accept a value."),
    262203: _BAD("A field cannot be set here."),
    458771: _BUSY,
    6691623: _DENIED,
    # --- volumes: missing, taken
    524601: Meaning(NoSuchVolume, "There is no such volume to copy."),
    917526: Meaning(AlreadyExists, "There is a volume of that name already."),
    # --- volumes: impossible arguments
    787140: _BAD("An aggregate must be given.", "/aggregate_name"),
    917508: _BAD("There is no such aggregate.", "/aggregate_name"),
    917597: _BAD("The aggregate does not hold data volumes.", "/aggregate_name"),
    918242: _BAD("An aggregate must be given.", "/aggregate_name"),
    917534: _BAD("The size is too small.", "/size_total"),
    918639: _BAD("The size is beyond the storage system's limit.", "/size_total"),
    918641: _BAD("The size is beyond the storage system's limit.", "/size_total"),
    918647: _BAD("The size is beyond the storage system's limit.", "/size_total"),
    917829: _BAD("The limits of growth contradict each other.", "/max_autosize"),
    917831: _BAD("The limit of growth is below the size.", "/max_autosize"),
    918521: _BAD("The limit of growth is beyond the storage system's limit.", "/max_autosize"),
    918524: _BAD("The limits of growth contradict each other.", "/max_autosize"),
    917835: _BAD("The snapshot reserve can be at most 90 per cent.", "/percentage_snapshot_reserve"),
    917886: _BAD("The volume's name is too long.", "/name"),
    917887: _BAD("A volume's name must begin with a letter or an underscore.", "/name"),
    917888: _BAD("A volume's name can only hold letters, digits and underscores.", "/name"),
    918252: _BAD("The junction path is not possible.", "/junction_path"),
    918271: _BAD("There is no such export policy.", "/active_policy_name"),
    918247: _BAD("A setting is not possible for a clone."),
    918244: _BAD("A volume of this type cannot be copied."),
    917628: _BAD("The setting is not possible for a volume of this type."),
    524849: _BAD("The setting is not possible for this volume."),
    6881640: Meaning(NotSupported, "This storage system cannot do it."),
    6881651: Meaning(NotSupported, "This volume cannot be compressed."),
    6881654: Meaning(NotSupported, "Compression cannot be switched off on this storage system."),
    918701: Meaning(NotSupported, "This storage system cannot do it."),
    918703: Meaning(NotSupported, "This storage system cannot do it."),
    1638644: Meaning(NotSupported, "This storage system cannot do it."),
    917505: _NO_SVM,
    2621462: _NO_SVM,
    2621706: _NO_SVM,
    2621707: _NO_SVM,
    # --- volumes: state
    524486: _BUSY,
    13107405: Meaning(ResourceBusy, "A volume of that name is being created."),
    13107406: _BUSY,
    524479: _LASTING("The volume is not online, or has no space left."),
    917533: _LASTING("The volume is offline."),
    917775: _LASTING("The volume is not online."),
    918652: _LASTING("The volume cannot be brought into that state."),
    9437885: _LASTING("The volume is not online."),
    1638480: _LASTING("Newer snapshots are in use and stand in the way."),
    9437886: _LASTING("Newer snapshots are locked and stand in the way."),
    # --- snapshots
    525059: Meaning(AlreadyExists, "The volume has a snapshot of that name already."),
    525062: Meaning(TooManySnapshots, "The volume has as many snapshots as it can have."),
    542797: Meaning(NoSuchSnapshot, "The volume has no such snapshot."),
    1638503: Meaning(NoSuchSnapshot, "The volume has no such snapshot."),
    1638600: Meaning(NoSuchSnapshot, "The volume has no such snapshot."),
    918243: Meaning(NoSuchSnapshot, "The volume has no such snapshot."),
    1638461: _BAD("Snapshots can only be made of volumes that can be written."),
    1638521: _BAD("Snapshots can only be deleted of volumes that can be written."),
    1638477: _BAD("The snapshot's name begins with a word that the storage system keeps for itself.", "/name"),
    1638518: _BAD("The snapshot's name is not possible.", "/name"),
    1638532: _BUSY,
    1638537: Meaning(OutcomeUnclear, "The storage system cannot tell what became of the change."),
    1638538: Meaning(OutcomeUnclear, "The storage system cannot tell what became of the change."),
    1638543: _LASTING("Something depends on the snapshot."),
    1638555: _LASTING("The snapshot is locked or has not expired."),
    524481: _LASTING("The volume is locked or fenced."),
    # --- export policies
    1703945: Meaning(PolicyInUse, "A volume uses the export policy."),
    1703946: _LASTING("The storage system cannot tell whether a volume uses the export policy."),
    1703947: Meaning(PolicyInUse, "The default export policy cannot be deleted."),
    1703952: _BAD("The export policy's name is not possible.", "/policy"),
    1703953: Meaning(PolicyInUse, "A qtree uses the export policy."),
    1703954: Meaning(NoSuchPolicy, "There is no such export policy."),
    1704047: _BAD("The export policy's name is too long.", "/policy"),
    1704070: Meaning(AlreadyExists, "The export policy has that rule already."),
    1704071: _BAD("A rule is given twice.", "/rules"),
    **dict.fromkeys((*range(1704036, 1704047), 1704049, 1704050, 1704054, 1704064, 1704065), _BAD_RULE),
}

#: Codes that refuse a field or an argument.
_FIELD_REFUSED = frozenset({"262177", "262179", "262186", "262196", "262197", "262203"})
#: Codes of ONTAP's job manager that only wrap the reason, which is in the message.
_WRAPPERS = frozenset({460770, 917536, 524511, 524597, 524819})

_SECRETS = (
    (re.compile(r"\b(node|cluster|host|server)(\s+\\*[\"'])[^\"'\\]+(\\*[\"'])", re.IGNORECASE), r"\1\2...\3"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b"), "<address>"),
    (
        # IPv6: shortened by two colons, or in full. A time of day has neither.
        re.compile(r"(?<![\w:])(?=[0-9A-Fa-f:]*::|(?:[0-9A-Fa-f]{1,4}:){7})[0-9A-Fa-f:]{2,39}(?![\w:])"),
        "<address>",
    ),
)
_HOST = re.compile(r"\b(?:[A-Za-z0-9_-]+\.){2,}[A-Za-z]{2,24}\b")


#: Field names, which look like host names but must stay readable.
_FIELD_NAMES = frozenset({*CLONE_FIELDS, *SNAPSHOT_FIELDS})


class Translator:
    """Makes errors from ONTAP's codes and messages, without confidential words."""

    def __init__(self, hidden: Iterable[str], password: Secret | None = None) -> None:
        self._password = password
        # In this order, of two words one of which begins with the other the longer comes first.
        words = sorted({word for word in hidden if word}, reverse=True)
        self._hidden = re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in words)) if words else None

    def clean(self, message: str) -> str:
        """Return ``message`` without host names, addresses and accounts, with at most 500 characters."""
        if self._password is not None:
            word = re.escape(self._password.current())
            message = re.sub(rf"(?<!\w){word}(?!\w)", "...", message)
        if self._hidden:
            message = self._hidden.sub("...", message)
        for pattern, replacement in _SECRETS:
            message = pattern.sub(replacement, message)
        message = _HOST.sub(lambda host: host[0] if host[0] in _FIELD_NAMES else "<host>", message)
        return message[:500]

    def original(self, error: OntapError | None, status: int | None = None) -> BackendError:
        """Return the filer's own error, cleaned."""
        code = error.code if error else None
        return BackendError(str(code if code is not None else status or "unknown"), self.clean(_words(error, status)))

    def error(self, error: OntapError | None, *, status: int | None = None) -> StorageError:
        """Return the exception for ONTAP's error, in a response or of a job."""
        original = self.original(error, status)
        meaning = _meaning(error, status)
        if meaning is None:
            return StorageError("The storage system refused.", backend_error=original)
        pointed = (FieldError(meaning.pointer, meaning.detail),) if meaning.pointer else ()
        return meaning.kind(
            meaning.detail,
            backend_error=original,
            errors=pointed,
            transient=meaning.transient,
            retryable=meaning.retryable,
        )


def _words(error: OntapError | None, status: int | None) -> str:
    """Return the message, with the field where ONTAP names that only beside it."""
    if error is None:
        return f"HTTP status {status}" if status else ""
    return error.message


class FieldsRefused(StorageError):
    """The filer refused a read because of its fields, not because of users' input."""

    def __init__(self, refusal: StorageError, error: OntapError) -> None:
        super().__init__("The storage system refused the service's question.", backend_error=refusal.backend_error)
        message = re.sub(r'"[^"]*,[^"]*"', "", error.message)  # A quoted list of all requested fields.
        quoted = re.findall(r'"([^"]+)"', message)
        self._words = {error.target, *quoted, *re.findall(r"[a-z_]+(?:\.[a-z_]+)+", message)} - {""}

    def refused_among(self, fields: Iterable[str]) -> frozenset[str]:
        """Return those of the fields that the filer's message names, directly or by their parent object."""
        return frozenset(
            name for name in fields if any(name == word or name.startswith(f"{word}.") for word in self._words)
        )


def is_known(error: OntapError | None) -> bool:
    """Does the code prove that the request was refused, whatever the HTTP status?"""
    return error is not None and error.code in MEANINGS


def names_unknown_field(error: StorageError) -> bool:
    """Did the filer refuse a field's name or value, as a release that does not know it?"""
    return error.backend_error is not None and error.backend_error.code in _FIELD_REFUSED


def is_forbidden(error: StorageError) -> bool:
    """Does the account lack the right, so that retries are useless?"""
    is_login = isinstance(error, BackendUnavailable)  # The whole login is refused, which may be temporary.
    return not is_login and error.backend_error is not None and error.backend_error.code in {"6", "6691623", "403"}


def is_no_operation(error: StorageError) -> bool:
    """Does this filer lack the whole operation?"""
    return error.backend_error is not None and error.backend_error.code in {"3", "405", "501"}


def _meaning(error: OntapError | None, status: int | None) -> Meaning | None:
    code, message = (error.code, error.message) if error else (None, "")
    if status == HTTPStatus.UNAUTHORIZED:
        return _BY_STATUS[status]
    if "temporarily locked" in message:
        return _BUSY
    if code in _WRAPPERS and "snapshot" in message.lower() and "not exist" in message.lower():
        return MEANINGS[1638600]
    of_code = None if code is None else MEANINGS.get(code)
    return of_code or _BY_STATUS.get(status)


_BY_STATUS: Mapping[int | None, Meaning] = {
    401: Meaning(BackendUnavailable, LOGIN_REFUSED),
    403: _DENIED,
    404: Meaning(NotFound, "The storage system does not have it."),
    429: _AWAY,
    503: _AWAY,
}
