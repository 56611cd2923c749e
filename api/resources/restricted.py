"""Restricted volumes: those that were taken out of service, and how they come back."""

from __future__ import annotations

from flask.views import MethodView

from api.http.problems import invalid
from api.jobs.submit import submit
from api.openapi.blueprint import Blueprint
from api.reads.read import read
from api.schemas import names
from api.schemas.resources import ReinstatedVolumeSchema
from worker.catalog.operations import LIST_RESTRICTED_VOLUMES, REINSTATE_VOLUME

blp = Blueprint(
    "restricted", __name__, url_prefix="/v4/<subsystem>/restricted", description="Volumes that are out of service"
)


@blp.route("")
class RestrictedVolumesView(MethodView):
    """All restricted volumes of a subsystem."""

    @blp.performs(LIST_RESTRICTED_VOLUMES)
    def get(self, subsystem):
        """List volumes that were taken out of service"""
        return read(LIST_RESTRICTED_VOLUMES, subsystem, {})


@blp.route("/<volume:volume>/reinstate")
class ReinstatedVolumeView(MethodView):
    """One restricted volume, back in service."""

    @blp.performs(REINSTATE_VOLUME)
    @blp.arguments(ReinstatedVolumeSchema, required=False, example={"junction_path": "/dbvol01"})
    def post(self, body, subsystem, volume):
        """Bring a volume back into service

        It is online and mounted again; a restricted volume is given by its name, since it has no path.
        """
        if wrong := names.volume_name(volume):
            raise invalid("/volume", wrong)
        return submit(REINSTATE_VOLUME, subsystem, {"volume": volume, **body})
