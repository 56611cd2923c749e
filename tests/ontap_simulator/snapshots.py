"""``/storage/volumes/{uuid}/snapshots``: made and deleted through jobs."""

from __future__ import annotations

import re

from tests.ontap_simulator.errors import Refusal, missing
from tests.ontap_simulator.exchange import Reply, Request, Route, in_scope, listing, one, start_job
from tests.ontap_simulator.shapes import SNAPSHOT
from tests.ontap_simulator.world import Record, World, new_uuid


def _volume(world: World, request: Request, path_match: re.Match[str]) -> Record:
    volume = world.volumes.get(path_match["volume"])
    if volume is None or not in_scope(request, volume):
        raise missing("volume.uuid")
    return volume


def list_snapshots(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    volume = _volume(world, request, path_match)
    return listing(world, request, SNAPSHOT, world.snapshots[volume["uuid"]].values())


def get_snapshot(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    volume = _volume(world, request, path_match)
    return one(world, request, SNAPSHOT, world.snapshots[volume["uuid"]].get(path_match["uuid"]))


def create_snapshot(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    volume = _volume(world, request, path_match)
    body = request.body
    SNAPSHOT.require_body(body, "POST")
    name = body.get("name", "")
    if not name or len(name) > 255:
        raise Refusal(1638518, "The specified snapshot name is invalid.", target="name")
    uuid = new_uuid()

    def apply() -> None:
        there = world.snapshots[volume["uuid"]]
        if volume["state"] != "online":
            raise Refusal(524479, "The specified volume is not online or does not have enough space.")
        if any(snapshot["name"] == name for snapshot in there.values()):
            raise Refusal(525059, f'A snapshot with the name "{name}" already exists.')
        if len(there) >= world.snapshot_limit:
            raise Refusal(525062, "Cannot exceed maximum number of snapshots.")
        made = world.add_snapshot(volume, name, comment=body.get("comment", ""))
        del there[made["uuid"]]
        made["uuid"] = uuid
        there[uuid] = made
        world.hide(made)
        world.effect("POST", request.path, **body)

    return start_job(world, request, apply, svm=volume["svm"]["name"], created=uuid, cancellable=True)


def delete_snapshot(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    volume = _volume(world, request, path_match)
    if set(request.query) - {"return_timeout"}:
        raise Refusal(262179, "Unexpected argument.")

    def apply() -> None:
        snapshot = world.snapshots[volume["uuid"]].get(path_match["uuid"])
        if snapshot is None:
            raise missing()
        if snapshot.get("owners"):
            raise Refusal(1638543, f'Failed to delete snapshot "{snapshot["name"]}" because it has an owner.')
        if snapshot.get("expiry_time"):
            raise Refusal(1638555, "The specified snapshot has not expired or is locked.")
        del world.snapshots[volume["uuid"]][path_match["uuid"]]
        world.effect("DELETE", request.path, name=snapshot["name"])

    return start_job(world, request, apply, svm=volume["svm"]["name"])


_COLLECTION = r"/storage/volumes/(?P<volume>[^/]+)/snapshots"
ROUTES: list[Route] = [
    ("GET", _COLLECTION, list_snapshots),
    ("POST", _COLLECTION, create_snapshot),
    ("GET", _COLLECTION + r"/(?P<uuid>[^/]+)", get_snapshot),
    ("DELETE", _COLLECTION + r"/(?P<uuid>[^/]+)", delete_snapshot),
]
