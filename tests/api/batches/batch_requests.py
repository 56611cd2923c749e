"""Requests and members of batches."""

from __future__ import annotations

from typing import Any


def creation(name: str, **body: Any) -> dict[str, Any]:
    return {"method": "POST", "path": f"/v4/filer/volumes/{name}", "body": {"size_total": 10**9, **body}}


def members_of(client: Any, batch: str) -> list[dict[str, Any]]:
    """The members, in the order of the request."""
    jobs: list[dict[str, Any]] = client.get(f"/v4/jobs?batch={batch.rpartition('/')[2]}&limit=1000").json
    return jobs[::-1]
