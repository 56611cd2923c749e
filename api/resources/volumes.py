"""Volumes: listed, shown, created, cloned, rolled back, changed, and taken out of service."""

from __future__ import annotations

from flask.views import MethodView

from api.http.bodies import require_empty_body
from api.jobs.submit import submit
from api.jobs.volume_requests import parse_volume_post
from api.openapi import operations as documentation
from api.openapi.blueprint import Blueprint
from api.openapi.path_parameters import parameter_with_examples
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


#: Bodies that work as they are, one after the other: each with the example of the same name for the volume in the path.
#: The snapshot that they name is the example of the path to take one.
_POST_EXAMPLES = {
    "create": {"summary": "Create an empty volume", "value": {"size_total": 10737418240}},
    "clone": {"summary": "Clone a snapshot", "value": {"from_volume": "dbvol01", "from_snapshot": "before-upgrade"}},
    "roll back": {"summary": "Roll back to a snapshot", "value": {"from_snapshot": "before-upgrade"}},
}
_POST_VOLUME = parameter_with_examples(
    "volume",
    {
        "create": {"summary": "Create or roll back dbvol01", "value": "dbvol01"},
        "clone": {"summary": "Clone dbvol01 as dbvol02", "value": "dbvol02"},
    },
)
_PATCH_EXAMPLES = {
    "resize": {"summary": "Give it another size", "value": {"size_total": 21474836480}},
    "grow": {"summary": "Let it grow by itself", "value": {"autosize_enabled": True, "max_autosize": 42949672960}},
    "export": {"summary": "Give it another export policy", "value": {"active_policy_name": "default"}},
    "comment": {"summary": "Say what it is for", "value": {"comment": "Redo logs of the test database"}},
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

    @blp.doc(parameters=[documentation.PREFER, documentation.IDEMPOTENCY, documentation.CALLBACK, _POST_VOLUME])
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
    @blp.arguments(VolumeChangesSchema, examples=_PATCH_EXAMPLES)
    def patch(self, changes, subsystem, volume):
        """Change a volume

        Fields that are not given are left as they are.
        """
        return submit(UPDATE_VOLUME, subsystem, {"volume": volume, **changes})

    @blp.performs(RESTRICT_VOLUME)
    def delete(self, subsystem, volume):
        """Take a volume out of service

        Nothing is destroyed, but from then on it is as if the volume did not exist.
        """
        require_empty_body()
        return submit(RESTRICT_VOLUME, subsystem, {"volume": volume})
