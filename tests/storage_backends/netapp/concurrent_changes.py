"""Changes of other clients between two requests of one operation."""

from __future__ import annotations

from collections.abc import Callable

from tests.ontap_simulator import Simulator
from tests.ontap_simulator.exchange import Reply, Request


def before_each(ontap: Simulator, change: Callable[[Request], None]) -> None:
    """Let ``change`` happen before each request is carried out."""
    handle = ontap.handle

    def changed(request: Request) -> Reply:
        change(request)
        return handle(request)

    ontap.handle = changed  # type: ignore[method-assign]


def after_each(ontap: Simulator, change: Callable[[Request, Reply], Reply | None]) -> None:
    """Let ``change`` alter each reply; None leaves it as it is."""
    handle = ontap.handle

    def changed(request: Request) -> Reply:
        reply = handle(request)
        return change(request, reply) or reply

    ontap.handle = changed  # type: ignore[method-assign]


def show_late(ontap: Simulator, path: str, *, after: str) -> list[Reply]:
    """After the first request with the method ``after``, answer one GET of ``path`` as before it.

    Returns a list that holds the stale reply once it was sent.
    """
    last: list[Reply] = []
    stale: list[Reply] = []
    changed: list[str] = []

    def late(request: Request, reply: Reply) -> Reply | None:
        if request.method == after:
            changed.append(request.path)
        elif request.method == "GET" and request.path == path:
            if changed and last and not stale:
                stale.append(last[-1])
                return stale[0]
            last.append(reply)
        return None

    after_each(ontap, late)
    return stale
