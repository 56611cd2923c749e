"""ONTAP's refusals: an HTTP status, a code, a message and what it is about."""

from __future__ import annotations

from typing import Any

_STATUS = {1: 409, 3: 405, 4: 404, 6: 403, 7: 503, 8: 409, 262160: 429}


class Refusal(Exception):
    """A request that ONTAP does not carry out."""

    def __init__(self, code: int, message: str, *, target: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.target = target
        self.status = status or _STATUS.get(code, 400)

    def body(self) -> dict[str, Any]:
        """The error as ONTAP words it; the code is a string."""
        error = {"message": self.message, "code": str(self.code)}
        return {"error": error | ({"target": self.target} if self.target else {})}


def missing(target: str = "uuid") -> Refusal:
    """What ONTAP says of anything that is not there."""
    return Refusal(4, "entry doesn't exist", target=target)
