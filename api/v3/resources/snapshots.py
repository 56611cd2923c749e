"""Snapshots of a volume below /v3."""

from __future__ import annotations

from flask.views import MethodView

from api.v3.blueprint import blp
from api.v3.bodies import V3NewSnapshotSchema
from api.v3.changes import change, no_body
from api.v3.problems import name_in_messages
from api.v3.reads import read
from api.v3.schemas import EMPTY_TEXT, V3SnapshotSchema
from worker.catalog.operations import CREATE_SNAPSHOT, DELETE_SNAPSHOT, GET_SNAPSHOT, LIST_SNAPSHOTS


@blp.route("/volumes/<volume:volume>/snapshots")
class SnapshotsView(MethodView):
    """All snapshots of a volume."""

    @blp.serves("v3_get_all_snapshots", LIST_SNAPSHOTS, takes_mask=True)
    @blp.response(200, V3SnapshotSchema(many=True, partial=True))
    def get(self, subsystem, volume):
        """List snapshots"""
        return read(LIST_SNAPSHOTS, subsystem, {"volume": volume})


@blp.route("/volumes/<volume:volume>/snapshots/<name>")
class SnapshotView(MethodView):
    """One snapshot."""

    @blp.serves("v3_get_snapshots", GET_SNAPSHOT, takes_mask=True)
    @blp.response(200, V3SnapshotSchema(partial=True))
    def get(self, subsystem, volume, name):
        """Show a snapshot"""
        return read(GET_SNAPSHOT, subsystem, {"volume": volume, "name": name})

    @blp.serves("v3_post_snapshots", CREATE_SNAPSHOT)
    @blp.arguments(V3NewSnapshotSchema)
    @blp.response(201, EMPTY_TEXT, description='""')
    def post(self, body, subsystem, volume, name):
        """Create a snapshot"""
        name_in_messages(exists=f"Snapshot {name} already exists!")
        arguments = {"volume": volume, "name": name, **body}
        return change(CREATE_SNAPSHOT, subsystem, arguments, fields=body)

    @blp.serves("v3_delete_snapshots", DELETE_SNAPSHOT)
    @blp.response(204)
    def delete(self, subsystem, volume, name):
        """Delete a snapshot"""
        arguments = {"volume": volume, "name": name}
        return change(DELETE_SNAPSHOT, subsystem, arguments, status=204, body=no_body)
