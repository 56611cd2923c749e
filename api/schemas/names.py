"""Rules for the names of volumes, snapshots, hosts, policies and rules; the same in paths and bodies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from api.http.problems import Problem
from storage_backends.client_matches import parse_network

_VOLUME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,202}\Z")
_NODE = re.compile(r"[A-Za-z0-9_.-]{0,255}\Z")
_SEGMENT = re.compile(r"[A-Za-z0-9_.-]+\Z")
_SNAPSHOT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+-]{0,254}\Z")
_POLICY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./:-]{0,255}\Z")
#: Names of aggregates and caching policies.
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}\Z")
_WORDS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+ -]{0,254}\Z")
_PERMISSIONS = re.compile(r"[0-7]{4}\Z")
MAX_COMMENT_CHARACTERS = 1023
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\Z")
_NETGROUP = re.compile(r"@[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
#: Names that are parts of paths of the API.
_RESERVED_SEGMENTS = frozenset({"snapshots", "locks", "rule"})
_MAX_HOST = 253
_MAX_RULE = 255
#: Longer than any storage system accepts; bounds the memory of names and keys.
_MAX_PATH = 1024

#: Returns what is wrong with a name; empty when it is valid.
Check = Callable[[str], str]


def volume_name(text: str) -> str:
    """Check a volume's plain name."""
    return (
        ""
        if _VOLUME.match(text)
        else "must be 1 to 203 letters, digits, '_', '.' and '-', not beginning with '.' or '-'"
    )


def junction_path(text: str) -> str:
    """Check a junction path."""
    if not text.startswith("/"):
        return "must begin with '/'"
    if len(text) > _MAX_PATH:
        return f"must be at most {_MAX_PATH} characters"
    for segment in text[1:].split("/"):
        if segment in ("", ".", ".."):
            return "must have no empty segment, no '.' or '..', and no slash at its end"
        if segment in _RESERVED_SEGMENTS:
            return f"must have no segment called {segment!r}"
        if not _SEGMENT.match(segment):
            return "must consist of letters, digits, '_', '.' and '-' between slashes"
    return ""


def volume(text: str) -> str:
    """Check a volume's name, or ``node:/junction/path``."""
    node, colon, path = text.partition(":")
    if not colon:
        return volume_name(text) and f"{volume_name(text)}; or node:/junction/path"
    if not _NODE.match(node):
        return "the node must consist of at most 255 letters, digits, '_', '.' and '-'"
    wrong = junction_path(path)
    return wrong and f"the path after the colon {wrong}"


def word(text: str) -> str:
    """Check the name of an aggregate or a caching policy."""
    return (
        "" if _WORD.match(text) else "must be 1 to 255 letters, digits, '_', '.' and '-', not beginning with '.' or '-'"
    )


def policy_word(text: str) -> str:
    """Check the name of a snapshot policy or QoS policy."""
    return "" if _WORDS.match(text) else "must be 1 to 255 letters, digits, blanks, '_', '.', ':', '+' and '-'"


def unix_permissions(text: str) -> str:
    """Check permissions in octal."""
    return "" if _PERMISSIONS.match(text) else "must be four octal digits, as in 0755"


def comment(text: str) -> str:
    """Check a volume's comment."""
    if len(text) > MAX_COMMENT_CHARACTERS:
        return f"must be at most {MAX_COMMENT_CHARACTERS} characters"
    return printable(text)


def printable(text: str) -> str:
    """Check a text for people on one line."""
    return "" if text.isprintable() else "must have no control characters"


def snapshot(text: str) -> str:
    """Check a snapshot's name."""
    return (
        ""
        if _SNAPSHOT.match(text)
        else "must be 1 to 255 letters, digits, and '_.:+-', beginning with a letter, digit or '_'"
    )


def host(text: str) -> str:
    """Check a host name or an IP address."""
    return "" if _is_address(text) or _is_host_name(text) else "must be a host name or an IP address"


def policy(text: str) -> str:
    """Check an export policy's name."""
    if not _POLICY.match(text):
        return "must be 1 to 256 letters, digits, and '_./:-', beginning with a letter, digit or '_'"
    # Otherwise the path of the policy a/rule/b would be that of the rule b of the policy a.
    return "must have no segment called 'rule'" if "/rule/" in f"{text}/" else ""


def rule(text: str) -> str:
    """Check an NFS client match."""
    if len(text) > _MAX_RULE:
        return f"must be at most {_MAX_RULE} characters"
    domain = text.removeprefix("*") if text.startswith("*.") else text
    name = domain.removeprefix(".")
    if _is_host_name(name) or _is_network(text) or _NETGROUP.match(text):
        return ""
    return "must be a host name, *.domain, .domain, an IPv4 or IPv6 address or network, or @netgroup"


def _is_host_name(text: str) -> bool:
    labels = text.split(".")
    digits_only = len(labels) > 1 and all(label.isdigit() for label in labels)
    return len(text) <= _MAX_HOST and not digits_only and all(_LABEL.match(label) for label in labels)


def _is_address(text: str) -> bool:
    return "/" not in text and parse_network(text) is not None


def _is_network(text: str) -> bool:
    return parse_network(text) is not None


#: The checks of path parameters.
_PATH_CHECKS: Mapping[str, Check] = {
    "volume": volume,
    "name": snapshot,
    "host": host,
    "policy": policy,
    "rule": rule,
}


def check_path(arguments: Mapping[str, str]) -> None:
    """Refuse names in a path that are not valid.

    Raises:
        Problem: `validation-failed`, with a pointer for each.
    """
    complaints = {name: check(arguments[name]) for name, check in _PATH_CHECKS.items() if name in arguments}
    errors = [{"pointer": f"/{name}", "detail": wrong} for name, wrong in complaints.items() if wrong]
    if errors:
        raise Problem(
            "validation-failed", "; ".join(f"{e['pointer'][1:]} {e['detail']}" for e in errors), errors=errors
        )
