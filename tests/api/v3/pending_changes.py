"""A change that is under way."""

from __future__ import annotations


def pending(old, method, path, body=None, **headers):
    """The job of a change that no worker carries out in time."""
    answer = old(method, path, body, **headers)
    assert (answer.status_code, set(answer.json)) == (504, {"message", "job"}), answer.data
    assert "Retry-After" not in answer.headers
    assert answer.headers["Operation-Location"] == answer.json["job"]
    return answer.json["job"].rpartition("/")[2]
