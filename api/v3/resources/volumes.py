"""Volumes below /v3."""

from __future__ import annotations

import orjson
from flask import g
from flask.views import MethodView

from api.http.problems import Problem
from api.services import current_services
from api.v3 import fields
from api.v3.blueprint import blp
from api.v3.bodies import V3NewVolumeSchema, V3VolumePatchSchema
from api.v3.changes import change, no_body, null
from api.v3.problems import name_in_messages
from api.v3.reads import read
from api.v3.schemas import NULL, V3VolumeSchema
from api.v3.volume_requests import parse_volume_post
from worker.catalog.operations import (
    CLONE_VOLUME,
    CREATE_VOLUME,
    GET_VOLUME,
    LIST_VOLUMES,
    RESTRICT_VOLUME,
    ROLL_BACK_VOLUME,
    UPDATE_VOLUME,
)
from worker.catalog.resource_types import VOLUME


@blp.route("/volumes")
class VolumesView(MethodView):
    """All volumes of a subsystem."""

    @blp.serves("v3_get_volumes", LIST_VOLUMES, takes_mask=True)
    @blp.response(200, V3VolumeSchema(many=True, partial=True))
    def get(self, subsystem):
        """List volumes"""
        return read(LIST_VOLUMES, subsystem, {})


@blp.route("/volumes/<volume:volume>")
class VolumeView(MethodView):
    """One volume."""

    @blp.serves("v3_get_volume", GET_VOLUME, takes_mask=True)
    @blp.response(200, V3VolumeSchema(partial=True))
    def get(self, subsystem, volume):
        """Show a volume"""
        return read(GET_VOLUME, subsystem, {"volume": volume})

    @blp.serves("v3_post_volume", CREATE_VOLUME, CLONE_VOLUME, ROLL_BACK_VOLUME, takes_mask=True)
    @blp.arguments(V3NewVolumeSchema)
    @blp.response(201, V3VolumeSchema(partial=True))
    def post(self, body, subsystem, volume):
        """Create a volume, clone one, or roll one back"""
        driver = current_services().drivers.get(subsystem, "")
        operation, arguments = parse_volume_post(volume, body, driver)
        exists = "Name already in use!" if operation is CLONE_VOLUME else f"Volume {volume} already exists!"
        name_in_messages(volume=body.get("from_volume", volume), name=arguments.get("from_snapshot", ""), exists=exists)
        mask = g.v3_mask
        return change(
            operation,
            subsystem,
            arguments,
            volume=volume,
            fields=body,
            body=lambda result: fields.one(VOLUME, orjson.loads(result), mask),
        )

    @blp.serves("v3_patch_volume", UPDATE_VOLUME)
    @blp.arguments(V3VolumePatchSchema)
    @blp.response(200, NULL, description="null")
    def patch(self, changes, subsystem, volume):
        """Change a volume"""
        if not changes:
            raise Problem("validation-failed", "No PATCH data provided!")
        arguments = {"volume": volume, **changes}
        return change(UPDATE_VOLUME, subsystem, arguments, fields=changes, status=200, body=null)

    @blp.serves("v3_delete_volume", RESTRICT_VOLUME)
    @blp.response(204)
    def delete(self, subsystem, volume):
        """Take a volume out of service"""
        return change(RESTRICT_VOLUME, subsystem, {"volume": volume}, status=204, body=no_body)
