"""Puts the front end together: nothing happens on import, and nothing here needs Redis to be there."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flask import Flask

from api import auth
from api.http import error_handlers as failures
from api.http import request_hooks as requests
from api.http.buffering import OnePiece
from api.http.converters import CONVERTERS
from api.monitoring import request_metrics
from api.openapi.document import create_api, describe_sign_in
from api.openapi.path_parameters import subsystem_parameter
from api.resources import docs, health, jobs, locks, snapshots, status, volumes
from api.resources import export_policies as exports
from api.response_cache.middleware import Repeats, refuse_away
from api.services import EXTENSION, Parts

BLUEPRINTS = (volumes.blp, snapshots.blp, locks.blp, exports.blp, jobs.blp, health.blp)


def create_app(held: Parts, settings: auth.AuthSettings) -> Flask:
    """Return the application.

    Args:
        held: what views work with.
        settings: who may do what.
    """
    app = Flask("api", static_folder=None, template_folder=None)
    app.url_map.merge_slashes = False
    app.url_map.converters.update(CONVERTERS)
    # One more, so that a body in chunks that is too large can be told from one that just fits.
    app.config["MAX_CONTENT_LENGTH"] = held.config.max_body_bytes + 1
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.extensions[EXTENSION] = held
    requests.init_app(app)
    app.before_request(refuse_away)
    request_metrics.init_app(app, held)
    api = create_api(app, _version())
    failures.init_app(app)
    for blueprint in BLUEPRINTS:
        named = [subsystem_parameter(held.subsystems)] if "<subsystem>" in (blueprint.url_prefix or "") else []
        api.register_blueprint(blueprint, parameters=named)
    app.register_blueprint(docs.blp)
    app.register_blueprint(status.blp)
    auth.init_app(app, settings, client=held.redis, prefix=held.settings.key_prefix)
    describe_sign_in(api, app)
    app.wsgi_app = Repeats(OnePiece(app.wsgi_app), held)  # type: ignore[method-assign]
    return app


def _version() -> str:
    try:
        return version("storage-api")
    except PackageNotFoundError:
        # Run from a checkout that was not installed: what it is made of says its version.
        source = Path(__file__).parents[1] / "pyproject.toml"
        return str(tomllib.loads(source.read_text())["project"]["version"]) if source.is_file() else "0"
