"""Checks the URLs of changes: single objects, identified by ONTAP's own ids; no collections, no patterns."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ID = r"[0-9A-Za-z-]+"
_ONE = re.compile(
    rf"/storage/volumes/{_ID}(/snapshots/{_ID})?"
    rf"|/protocols/locks/{_ID}"
    r"|/protocols/nfs/export-policies/\d+(/rules/\d+)?"
    r"|/protocols/nfs/export-policies/\d+/rules/\d+/clients/[^/?#]+"
    rf"|/cluster/jobs/{_ID}"
)
#: Export rules are identified only by their index, which may change: a query names index and client.
_RULES = re.compile(r"/protocols/nfs/export-policies/\d+/rules")
_NEW = re.compile(rf"/storage/volumes(/{_ID}/snapshots)?" r"|/protocols/nfs/export-policies(/\d+/rules)?")
#: The command ``volume modify`` has no URL per volume: the query names it.
_COMMAND = "/private/cli/volume"


class UnboundedChange(Exception):
    """A change could affect more than one object. This is an error in the driver; nothing was sent."""


def require_one(method: str, path: str, query: Mapping[str, object]) -> None:
    """Return if ``method`` on ``path`` can only affect one object.

    Raises:
        UnboundedChange: it could affect others.
    """
    if method == "POST" and _NEW.fullmatch(path):
        return
    if method in {"PATCH", "DELETE"} and _ONE.fullmatch(path):
        return
    if method == "PATCH" and path == _COMMAND and all(_names_one(query.get(key)) for key in ("vserver", "volume")):
        return
    if method in {"PATCH", "DELETE"} and _RULES.fullmatch(path) and _names_one_rule(query):
        return
    raise UnboundedChange(f"{method} {path} may touch more than one object")


def _names_one_rule(query: Mapping[str, object]) -> bool:
    is_whole = query.keys() == {"index", "clients.match"}
    return is_whole and str(query["index"]).isdigit() and _names_one(query["clients.match"])


def _names_one(value: object) -> bool:
    return (
        isinstance(value, str)
        and re.fullmatch(r'"[^"]+"|[^*|!<>"{},]+', value) is not None
        and (value.startswith('"') or ".." not in value)
    )
