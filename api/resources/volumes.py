"""Volumes: listed, shown, created, cloned, rolled back, changed, and taken out of service."""

from __future__ import annotations

from flask.views import MethodView

from api.http.bodies import require_empty_body
from api.jobs.submit import submit
from api.jobs.volume_requests import parse_volume_post
from api.openapi.blueprint import Blueprint
from api.reads.read import read
from api.schemas.resources import NewVolumeSchema, VolumeChangesSchema
from worker.catalog.operations import (
    CLONE_VOLUME,
    CREATE_VOLUME,
    GET_VOLUME,
    LIST_VOLUMES,
    RESTRICT_VOLUME,
    ROLL_BACK_VOLUME,
    UPDATE_VOLUME,
)

blp = Blueprint("volumes", __name__, url_prefix="/v4/<subsystem>/volumes", description="Volumes")


#: Bodies that work as they are, where the snapshot and the volume that they name exist.
_POST_EXAMPLES = {
    "create": {"summary": "Create an empty volume", "value": {"size_total": 10737418240}},
    "clone": {"summary": "Clone a snapshot", "value": {"from_volume": "dbvol01", "from_snapshot": "before-upgrade"}},
    "roll back": {"summary": "Roll back to a snapshot", "value": {"from_snapshot": "before-upgrade"}},
}


@blp.route("")
class VolumesView(MethodView):
    """All volumes of a subsystem."""

    @blp.performs(LIST_VOLUMES)
    def get(self, subsystem):
        """List volumes"""
        return read(LIST_VOLUMES, subsystem, {})


@blp.route("/<volume:volume>")
class VolumeView(MethodView):
    """One volume."""

    @blp.performs(GET_VOLUME)
    def get(self, subsystem, volume):
        """Show a volume"""
        return read(GET_VOLUME, subsystem, {"volume": volume})

    @blp.performs(CREATE_VOLUME, CLONE_VOLUME, ROLL_BACK_VOLUME)
    @blp.arguments(NewVolumeSchema, required=False, examples=_POST_EXAMPLES)
    def post(self, body, subsystem, volume):
        """Create a volume, clone one, or roll one back

        With `from_snapshot` (roll_back_volume): the volume becomes what it was when the snapshot was made, and later
        snapshots go. With `from_volume` as well (clone_volume): the volume is created as an independent copy of that
        volume's snapshot. Otherwise (create_volume) it is created empty.
        """
        operation, arguments = parse_volume_post(volume, body)
        return submit(operation, subsystem, arguments, volume=volume)

    @blp.performs(UPDATE_VOLUME)
    @blp.arguments(VolumeChangesSchema)
    def patch(self, changes, subsystem, volume):
        """Change a volume

        Fields that are not given are left as they are.
        """
        return submit(UPDATE_VOLUME, subsystem, {"volume": volume, **changes}, volume=volume)

    @blp.performs(RESTRICT_VOLUME)
    def delete(self, subsystem, volume):
        """Take a volume out of service

        Nothing is destroyed, but from then on it is as if the volume did not exist.
        """
        require_empty_body()
        return submit(RESTRICT_VOLUME, subsystem, {"volume": volume}, volume=volume)
