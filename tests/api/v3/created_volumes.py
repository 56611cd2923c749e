"""Volumes that are made over the old API."""

from __future__ import annotations

GB = 10**9


def make(ask, name="v1", **fields):
    answer = ask("POST", f"/dummy/volumes/{name}", {"size_total": GB, **fields})
    assert answer.status_code == 201, answer.data
    return answer
