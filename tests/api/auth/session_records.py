"""What Redis holds of sessions."""

from __future__ import annotations

import json
from typing import Any

import redis

from tests.api.auth.auth_app import PREFIX


def session_keys(client: redis.Redis) -> list[bytes]:
    return [key for key in client.scan_iter(f"{PREFIX}session:*") if not key.endswith(b":check")]


def change(client: redis.Redis, **fields: Any) -> None:
    """Change the stored times of every session, as if time had passed."""
    for key in session_keys(client):
        kept = json.loads(client.get(key) or "")
        client.set(key, json.dumps(kept | {name: kept[name] + value for name, value in fields.items()}), keepttl=True)
        client.delete(key + b":check")
