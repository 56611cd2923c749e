"""Requests that ask the concurrency limiter for a permit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

from flask import Flask, g, request

from api.limits.concurrency_limiter import ON_ADMIN_PORT, ConcurrencyLimiter
from worker.catalog.operations import Role

if TYPE_CHECKING:
    pass

ORDINARY = frozenset({Role.USER})


@contextmanager
def request_of(roles: frozenset[Role] = ORDINARY, *, on_admin_port: bool = False) -> Iterator[None]:
    """The context of a request whose sender has these roles."""
    environ = {ON_ADMIN_PORT: True} if on_admin_port else {}
    token = {"Authorization": "Bearer " + " ".join(sorted(roles))}
    with Flask("test").test_request_context("/", headers=token, environ_overrides=environ):
        g.principal = SimpleNamespace(owner="ann", roles=roles)
        yield


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def take_permit(limiter: ConcurrencyLimiter) -> None:
    with request_of():
        assert limiter.acquire(request.environ)
        limiter.release()


def needs_no_permit(limiter: ConcurrencyLimiter, headers: dict[str, str]) -> bool:
    """Does a request with these headers get through while the only permit and the only place to wait are taken?"""
    with Flask("test").test_request_context("/", headers=headers):
        went_on = limiter.acquire(request.environ)
        limiter.release()
    return went_on


def identified(limiter: ConcurrencyLimiter, headers: dict[str, str], *roles: Role) -> None:
    with Flask("test").test_request_context("/", headers=headers):
        g.principal = SimpleNamespace(owner="ann", roles=frozenset(roles))
        limiter.identified()
        limiter.release()


def free_permits(limiter: ConcurrencyLimiter) -> int:
    """How many permits are free; returns at once."""
    count = 0
    while limiter._queue.acquire("nobody", 0):
        count += 1
    for _ in range(count):
        limiter._queue.release()
    return count
