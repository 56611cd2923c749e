"""Locks that hosts hold on a volume."""

from __future__ import annotations

from flask.views import MethodView

from api.http.bodies import require_empty_body
from api.jobs.submit import submit
from api.openapi.blueprint import Blueprint
from api.reads.read import read
from worker.catalog.operations import CREATE_LOCK, LIST_LOCKS, REMOVE_LOCK

blp = Blueprint("locks", __name__, url_prefix="/v4/<subsystem>/volumes/<volume:volume>/locks", description="Locks")


@blp.route("")
class LocksView(MethodView):
    """All locks on a volume."""

    @blp.performs(LIST_LOCKS)
    def get(self, subsystem, volume):
        """List the hosts that hold locks"""
        return read(LIST_LOCKS, subsystem, {"volume": volume})


@blp.route("/<host>")
class LockView(MethodView):
    """One host's lock."""

    @blp.performs(CREATE_LOCK)
    def put(self, subsystem, volume, host):
        """Lock a volume for a host

        The same host again succeeds; while another host holds the lock it is refused (`lock-held`).
        """
        require_empty_body()
        return submit(CREATE_LOCK, subsystem, {"volume": volume, "host": host})

    @blp.performs(REMOVE_LOCK)
    def delete(self, subsystem, volume, host):
        """Break a host's locks

        None there is success, too.
        """
        require_empty_body()
        return submit(REMOVE_LOCK, subsystem, {"volume": volume, "host": host})
