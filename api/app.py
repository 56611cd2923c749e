"""The application factory: importing has no effects, and nothing here needs a running Redis."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flask import Flask
from werkzeug.utils import import_string

from api import auth, console, events
from api.http import error_handlers as failures
from api.http import request_hooks as requests
from api.http.buffering import BufferedResponseMiddleware
from api.http.concurrency_middleware import ConcurrencyMiddleware
from api.http.converters import CONVERTERS
from api.http.large_responses import LargeResponseMiddleware
from api.monitoring import request_metrics
from api.openapi.document import OpenApiDocument
from api.openapi.path_parameters import subsystem_parameter
from api.resources import batches, docs, health, jobs, locks, restricted, snapshots, status, volumes
from api.resources import events as event_stream
from api.resources import export_policies as exports
from api.response_cache.middleware import ResponseCacheMiddleware, raise_cached_redis_error
from api.services import EXTENSION, Services

BLUEPRINTS = (
    volumes.blp,
    restricted.blp,
    snapshots.blp,
    locks.blp,
    exports.blp,
    jobs.blp,
    batches.blp,
    event_stream.blp,
    health.blp,
)


#: Key in the application's configuration: how long a request may be held open (seconds).
LONGEST_REQUEST_S = "LONGEST_REQUEST_S"


def create_app(services: Services, settings: auth.AuthSettings) -> Flask:
    """Return the application.

    Args:
        services: the shared objects that views use.
        settings: configuration of sign-in and roles.

    Raises:
        BadSettings: a setting does not fit the routes.
    """
    app = Flask("api", static_folder=None, template_folder=None)
    app.url_map.merge_slashes = False
    app.url_map.converters.update(CONVERTERS)
    # One more, so that a body in chunks that is too large can be distinguished from one that just fits.
    app.config["MAX_CONTENT_LENGTH"] = services.config.max_body_bytes + 1
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.config[LONGEST_REQUEST_S] = services.config.max_wait
    app.extensions[EXTENSION] = services
    requests.init_app(app)
    app.before_request(raise_cached_redis_error)
    request_metrics.init_app(app, services)
    app.config["API_VERSION"] = _version()
    document = OpenApiDocument(app)
    failures.init_app(app)
    for blueprint in BLUEPRINTS:
        parameters = [subsystem_parameter(services.subsystems)] if "<subsystem>" in (blueprint.url_prefix or "") else []
        document.register_blueprint(blueprint, parameters)
    app.register_blueprint(docs.blp)
    app.register_blueprint(status.blp)
    console.init_app(app)
    auth.init_app(
        app,
        settings,
        register_blueprint=document.register_blueprint,
        client=services.redis,
        prefix=services.settings.key_prefix,
    )
    import_string("api.v3:init_app")(app, document)  # The only place that refers to this part.
    auth.check_callback_path(app, settings.oauth_callback_url_relative)
    events.init_app(app, services)
    buffered, limiter = BufferedResponseMiddleware(app.wsgi_app), services.concurrency_limiter
    cached = ResponseCacheMiddleware(ConcurrencyMiddleware(buffered, limiter), services)
    app.wsgi_app = LargeResponseMiddleware(  # type: ignore[method-assign]
        cached, buffered, limiter, services.bodies_in_flight
    )
    return app


@cache
def _version() -> str:
    try:
        return version("storage-api")
    except PackageNotFoundError:
        # Run from a checkout that is not installed: the version is read from its files.
        source = Path(__file__).parents[1] / "pyproject.toml"
        return str(tomllib.loads(source.read_text())["project"]["version"]) if source.is_file() else "0"
