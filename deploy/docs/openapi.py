"""``python -m deploy.docs.openapi``: the OpenAPI document, without a running service, on standard output."""

from __future__ import annotations

import sys
from secrets import token_hex
from typing import Any

import orjson

from api.app import create_app
from api.auth import AuthSettings
from api.openapi.document import EXTENSION
from api.services import Services
from api.settings import ApiSettings
from worker.catalog.operations import Role
from worker.config.settings import Settings, load

#: The example of a storage system's name in paths.
_EXAMPLE = "netapp"


def document() -> dict[str, Any]:
    """Return the document of a service with all ways of signing in."""
    services = Services.build(load(Settings), load(ApiSettings), (_EXAMPLE,))
    basic = {"basic_auth_username": "ann", "basic_auth_password": token_hex()}
    groups = {f"role_{role.lower()}_groups": (role,) for role in Role}
    auth_settings = load(AuthSettings, secret_key=token_hex(), **basic, **groups)
    openapi: dict[str, Any] = orjson.loads(create_app(services, auth_settings).extensions[EXTENSION].json)
    return openapi


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
