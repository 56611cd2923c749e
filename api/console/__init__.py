"""The console: pages for people below `/console`, rendered on the server.

Every page gets its data from, and sends its changes to, the API of this very process (`api_client`), so that roles,
bodies and limits are checked once. Works without script; `static/console.js` only refreshes what has changed.
"""

from __future__ import annotations

from flask import Flask

from api.console import (
    bulk_actions,
    capacity,
    export_policies,
    jobs,
    overview,
    pages,
    restricted,
    snapshot_batches,
    volume_actions,
    volume_table,
    volumes,
)

__all__ = ["init_app"]

#: Importing a module of pages adds its routes to the blueprint.
_PAGES = (
    overview, volume_table, volumes, capacity, volume_actions, jobs, bulk_actions, export_policies, restricted,
    snapshot_batches,
)  # fmt: skip


def init_app(app: Flask) -> None:
    """Add the pages to the application."""
    app.register_blueprint(pages.blp)
    jobs.init_app(app)
