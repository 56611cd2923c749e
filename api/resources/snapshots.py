"""Snapshots of a volume."""

from __future__ import annotations

from flask.views import MethodView

from api.http.bodies import require_empty_body
from api.jobs.submit import submit
from api.openapi.blueprint import Blueprint
from api.reads.read import read
from api.schemas.resources import NewSnapshotSchema
from worker.catalog.operations import CREATE_SNAPSHOT, DELETE_SNAPSHOT, GET_SNAPSHOT, LIST_SNAPSHOTS

blp = Blueprint(
    "snapshots", __name__, url_prefix="/v4/<subsystem>/volumes/<volume:volume>/snapshots", description="Snapshots"
)

_EXAMPLES = {
    "take": {"summary": "Take it, or fail where the limit is reached", "value": {}},
    "delete the oldest": {
        "summary": "Delete the oldest where the limit is reached",
        "value": {"purge_old_if_needed": True},
    },
}


@blp.route("")
class SnapshotsView(MethodView):
    """All snapshots of a volume."""

    @blp.performs(LIST_SNAPSHOTS)
    def get(self, subsystem, volume):
        """List snapshots

        Oldest first.
        """
        return read(LIST_SNAPSHOTS, subsystem, {"volume": volume})


@blp.route("/<name>")
class SnapshotView(MethodView):
    """One snapshot."""

    @blp.performs(GET_SNAPSHOT)
    def get(self, subsystem, volume, name):
        """Show a snapshot"""
        return read(GET_SNAPSHOT, subsystem, {"volume": volume, "name": name})

    @blp.performs(CREATE_SNAPSHOT)
    @blp.arguments(NewSnapshotSchema, required=False, examples=_EXAMPLES)
    def post(self, body, subsystem, volume, name):
        """Create a snapshot

        When the storage system's limit is reached it is refused (`too-many-snapshots`), or, with `purge_old_if_needed`,
        the oldest deletable snapshot goes first.
        """
        return submit(CREATE_SNAPSHOT, subsystem, {"volume": volume, "name": name, **body})

    @blp.performs(DELETE_SNAPSHOT)
    def delete(self, subsystem, volume, name):
        """Delete a snapshot"""
        require_empty_body()
        return submit(DELETE_SNAPSHOT, subsystem, {"volume": volume, "name": name})
