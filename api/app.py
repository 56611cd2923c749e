"""Puts the front end together: nothing happens on import, and nothing here needs Redis to be there."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from flask import Flask
from werkzeug.routing import PathConverter

from api import auth, failures, requests
from api.openapi import create_api, describe_sign_in
from api.parts import EXTENSION, Parts
from api.resources import docs, exports, health, jobs, locks, snapshots, volumes

BLUEPRINTS = (volumes.blp, snapshots.blp, locks.blp, exports.blp, jobs.blp, health.blp)


class AnyPathConverter(PathConverter):
    """A name in a path, whatever is in it: what cannot be a name is told so, rather than that there is no such page."""

    regex = r"[\s\S]+?"
    part_isolating = False


def create_app(held: Parts, settings: auth.AuthSettings) -> Flask:
    """Return the application.

    Args:
        held: what views work with.
        settings: who may do what.
    """
    app = Flask("api", static_folder=None, template_folder=None)
    app.url_map.merge_slashes = False
    app.url_map.converters["path"] = AnyPathConverter
    # One more, so that a body in chunks that is too large can be told from one that just fits.
    app.config["MAX_CONTENT_LENGTH"] = held.config.max_body_bytes + 1
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.extensions[EXTENSION] = held
    requests.init_app(app)
    api = create_api(app, _version())
    failures.init_app(app)
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint)
    app.register_blueprint(docs.blp)
    auth.init_app(app, settings, client=held.redis, prefix=held.settings.key_prefix)
    describe_sign_in(api, app)
    return app


def _version() -> str:
    try:
        return version("storage-api")
    except PackageNotFoundError:
        # Run from a checkout that was not installed.
        return "0"
