"""Members of a batch: requests inside another one, which go through the same views and checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class MemberRequest:
    """A request inside the current request."""

    path: str
    #: The view arguments of its path.
    view_args: Mapping[str, str]
    body: dict[str, Any]


_current: ContextVar[MemberRequest | None] = ContextVar("member_request", default=None)


@contextmanager
def answering(member: MemberRequest) -> Iterator[None]:
    """Inside the block, views read body and path from this member."""
    token = _current.set(member)
    try:
        yield
    finally:
        _current.reset(token)


def current_member() -> MemberRequest | None:
    """Return the member whose view is running; None in an ordinary request."""
    return _current.get()
