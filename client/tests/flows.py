"""Flows, given answers: what they send, emit and return, without a service."""

from __future__ import annotations

import json
from typing import Any

from storage_api_client.protocol.messages import (
    ConnectionLost,
    Emit,
    Ended,
    OpenStream,
    Pause,
    ReadChunk,
    Request,
    Response,
    Send,
    advance,
    fail,
)

JOB = {"id": "1", "state": "running", "done": False}
LOST = ConnectionLost("The connection was lost", sent=True)
REFUSED = ConnectionLost("Nobody answers", sent=False)


def answer(status: int, body: Any = None, **headers: str) -> Response:
    """An answer; an error is a problem of the service."""
    kind = "application/problem+json" if status >= 400 else "application/json"
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(status, {"content-type": kind, **named}, b"" if body is None else json.dumps(body).encode())


def problem(status: int, code: str, **headers: str) -> Response:
    return answer(status, {"title": code, "status": status, "code": code, "detail": code}, **headers)


def run(flow: Any, *answers: Any) -> tuple[Any, list[Request], list[float]]:
    """Give a flow these answers: what it returns or emits, what it has sent, and its pauses."""
    replies, sent, pauses, emitted = list(answers), [], [], []
    command = advance(flow)
    while not isinstance(command, Ended):
        if isinstance(command, Pause):
            pauses.append(command.seconds)
            command = advance(flow)
        elif isinstance(command, Emit):
            emitted.append(command.value)
            command = advance(flow)
        else:
            assert isinstance(command, Send | OpenStream | ReadChunk)
            if not isinstance(command, ReadChunk):
                sent.append(command.request)
            if not replies and not isinstance(command, Send):
                break  # No more events are wanted.
            reply = replies.pop(0)
            command = fail(flow, reply) if isinstance(reply, ConnectionLost) else advance(flow, reply)
    assert replies == []
    flow.close()
    return (emitted or getattr(command, "value", None)), sent, pauses
