"""Locks on a volume below /v3."""

from __future__ import annotations

from flask.views import MethodView

from api.schemas.resources import LockSchema
from api.v3.blueprint import blp
from api.v3.changes import change, no_body
from api.v3.reads import read
from api.v3.schemas import EMPTY_TEXT
from worker.catalog.operations import CREATE_LOCK, LIST_LOCKS, REMOVE_LOCK


@blp.route("/volumes/<volume:volume>/locks")
class LocksView(MethodView):
    """All locks on a volume."""

    @blp.serves("v3_get_all_locks", LIST_LOCKS, takes_mask=True)
    @blp.response(200, LockSchema(many=True, partial=True))
    def get(self, subsystem, volume):
        """List the hosts that hold locks"""
        return read(LIST_LOCKS, subsystem, {"volume": volume})


@blp.route("/volumes/<volume:volume>/locks/<host>")
class LockView(MethodView):
    """One host's lock."""

    @blp.serves("v3_put_locks", CREATE_LOCK)
    @blp.response(201, EMPTY_TEXT, description='""')
    def put(self, subsystem, volume, host):
        """Lock a volume for a host"""
        return change(CREATE_LOCK, subsystem, {"volume": volume, "host": host})

    @blp.serves("v3_delete_locks", REMOVE_LOCK)
    @blp.response(204)
    def delete(self, subsystem, volume, host):
        """Break a host's locks"""
        arguments = {"volume": volume, "host": host}
        return change(REMOVE_LOCK, subsystem, arguments, status=204, body=no_body)
