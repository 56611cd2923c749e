"""``python3 deploy/kubernetes/make_secrets.py [HOST] | oc create -f -``: prints new secrets for a cluster.

All but the filers'. HOST is where Redis is reached, ``redis:6379`` unless it is an external one. Where the overlay sets
SAPI_KEY_PREFIX, set it here, too: Redis's users may reach no other keys. Needs nothing but Python. Every run makes new
ones: for a cluster that has secrets already, change those one by one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import sys
from pathlib import Path
from typing import Any

USERS_FILE = Path(__file__).resolve().parents[1] / "redis" / "users.acl"
#: Redis's users, by the secret and the key with their URL.
USERS = {
    "api": ("api", "redis_url"),
    "worker": ("worker", "redis_url"),
    "webhooks": ("webhooks", "redis_url"),
    "flower": ("flower", "redis_url"),
    "flower-events": ("flower", "broker_url"),
}


def make(host: str = "redis:6379", *, prefix: str = "sapi:") -> list[dict[str, Any]]:
    """Return the manifests; ``prefix``: the start of every key in Redis."""
    passwords = {user: secrets.token_hex(24) for user in (*USERS, "health")}
    users = re.sub("(?<=[~&])sapi:", prefix, USERS_FILE.read_text("utf-8"))
    for user, password in passwords.items():
        users = users.replace(f"#{{{user}}}", "#" + hashlib.sha256(password.encode()).hexdigest())
    found: dict[str, dict[str, str]] = {}
    for user, (secret, key) in USERS.items():
        found.setdefault(secret, {})[key] = f"redis://{user}:{passwords[user]}@{host}/0"
    # The key of the sign-in provider is empty until the provider has given one.
    found["api"] |= {"secret_key": secrets.token_hex(32), "oauth_secret_key": ""}
    found["flower"] |= {"secret_key": secrets.token_hex(32), "oauth_secret_key": ""}
    found["flower"]["basic_auth_password"] = secrets.token_urlsafe(18)
    found["redis"] = {"users.acl": users, "health_password": passwords["health"]}
    return [_secret(name, values) for name, values in found.items()]


def _secret(name: str, values: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"app.kubernetes.io/name": "storage-api"}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "stringData": values}


if __name__ == "__main__":
    key_prefix = os.environ.get("SAPI_KEY_PREFIX") or "sapi:"
    if not re.fullmatch(r"[a-z0-9:_-]{1,32}", key_prefix):
        sys.exit("SAPI_KEY_PREFIX must be 1 to 32 of the characters a-z, 0-9, ':', '_' and '-'")
    items = make(*sys.argv[1:], prefix=key_prefix)
    print(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2))
