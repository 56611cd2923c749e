"""What a client must know to sign its user in: OAuth 2.0 Protected Resource Metadata (RFC 9728)."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request
from flask_smorest import Blueprint

from api.auth.openapi import problems
from api.auth.provider import IdentityProvider
from api.auth.provider_http import ProviderUnavailable
from api.auth.refusals import reject_without_provider
from api.auth.services import auth_services
from api.http.arguments_parser import reject_query_parameters
from api.http.problems import Problem

_TEXT = {"type": "string"}
_SCHEMA = {
    "type": "object",
    "required": ["resource", "authorization_servers", "bearer_methods_supported"],
    "properties": {
        "resource": {**_TEXT, "format": "uri", "description": "This service"},
        "authorization_servers": {"type": "array", "items": _TEXT, "description": "The issuer of its tokens"},
        "bearer_methods_supported": {"type": "array", "items": _TEXT},
        "client_id": {**_TEXT, "description": "The public client with which programs sign their users in"},
        "audience": {**_TEXT, "description": "Audience that tokens must name"},
    },
}
_EXAMPLE = {
    "resource": "https://storage.example.org",
    "authorization_servers": ["https://sso.example.org/realms/lab"],
    "bearer_methods_supported": ["header"],
    "client_id": "storage-api-cli",
}

metadata_blueprint = Blueprint(
    "resource-metadata", __name__, url_prefix="/.well-known", description="How programs sign their users in"
)


@metadata_blueprint.route("/oauth-protected-resource")
@metadata_blueprint.doc(
    operationId="show_resource_metadata",
    tags=["configuration"],
    security=[],
    parameters=[],
    responses={
        "200": {"description": "OK", "content": {"application/json": {"schema": _SCHEMA, "example": _EXAMPLE}}},
        **problems(404, 422, 503),
    },
)
def resource_metadata() -> Response:
    """Show where a program signs its user in (RFC 9728)."""
    reject_query_parameters()
    provider = auth_services().provider
    if provider is None:
        raise Problem("not-found", "No identity provider is configured here, so that there is no token to get.")
    return jsonify(_document(provider))


def _document(provider: IdentityProvider) -> dict[str, Any]:
    try:
        issuer = provider.issuer()
    except ProviderUnavailable:
        reject_without_provider()
    settings = provider.settings
    optional = {"client_id": settings.oauth_public_client_id, "audience": settings.oauth_audience}
    return {
        "resource": request.root_url.rstrip("/"),
        "authorization_servers": [issuer] if issuer else [],
        "bearer_methods_supported": ["header"],
        **{name: value for name, value in optional.items() if value},
    }
