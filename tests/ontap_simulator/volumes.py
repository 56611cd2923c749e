"""``/storage/volumes``: made, copied, changed, put back, restricted; everything through a job."""

from __future__ import annotations

import re
from typing import Any

from tests.ontap_simulator.errors import Refusal, missing
from tests.ontap_simulator.exchange import Reply, Request, Route, in_scope, listing, one, require_known_body, start_job
from tests.ontap_simulator.shapes import VOLUME
from tests.ontap_simulator.world import MIB, Record, World, new_uuid, refresh

MIN_SIZE, MAX_SIZE = 20 * MIB, 100 * MIB * MIB


def list_volumes(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    return listing(world, request, VOLUME, world.volumes.values())


def get_volume(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    return one(world, request, VOLUME, world.volumes.get(path_match["uuid"]))


# --- new ones


def create_volume(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    body = request.body
    VOLUME.require_body(body, "POST")
    require_known_body(world, body)
    _require_name(body.get("name", ""))
    svm = _vserver_of(world, request, body)
    uuid = new_uuid()

    def apply() -> None:
        record = _cloned(world, svm, body) if body.get("clone", {}).get("is_flexclone") else _made(world, svm, body)
        del world.volumes[record["uuid"]], world.snapshots[record["uuid"]]
        record["uuid"] = uuid
        world.volumes[uuid] = record
        world.snapshots[uuid] = {}
        world.hide(record)
        record["_links"] = {"self": {"href": f"/api/storage/volumes/{uuid}"}}
        world.effect("POST", request.path, **body)

    if "clone" in body and {"size", "aggregates", "comment", "autosize", "space"} & set(body):
        raise Refusal(918247, "Specifying a value is not valid for a volume FlexClone creation.")
    return start_job(world, request, apply, svm=svm, created=uuid, cancellable=True)


def _require_name(name: str) -> None:
    if len(name) > 203:
        raise Refusal(917886, "Volume name is too long. It must be 203 characters or less.", target="name")
    if not re.match(r"[A-Za-z_]", name):
        raise Refusal(917887, "The first character of the volume name must be a letter or underscore.", target="name")
    if not re.fullmatch(r"\w+", name, re.ASCII):
        raise Refusal(917888, "Invalid character in volume name.", target="name")


def _vserver_of(world: World, request: Request, body: Record) -> str:
    svm: str = body.get("svm", {}).get("name") or request.scope
    if not svm:
        raise Refusal(2621707, 'No SVM was specified. Either "svm.name" or "svm.uuid" must be supplied.')
    if svm not in world.vservers or (request.scope and request.scope != svm):
        raise Refusal(2621462, f'The target SVM "{svm}" does not exist.')
    return svm


def _require_free(world: World, svm: str, body: Record) -> None:
    others = _of_svm(world, svm)
    if any(volume["name"] == body["name"] for volume in others):
        raise Refusal(917526, f'Duplicate volume name "{body["name"]}" in Vserver "{svm}" on node "node1".')
    path = body.get("nas", {}).get("path", "").lower()
    if path and any(_path(volume) == path for volume in others):
        raise Refusal(918252, '"nas.path" is invalid.', target="nas.path")


def _made(world: World, svm: str, body: Record) -> Record:
    _require_free(world, svm, body)
    aggregates = [entry.get("name") for entry in body.get("aggregates", [])]
    if len(aggregates) != 1:
        raise Refusal(918242, "When creating a flexible volume, exactly one aggregate must be specified.")
    if aggregates[0] not in world.aggregates:
        raise Refusal(917508, f'Aggregate "{aggregates[0]}" could not be found on host "filer01.example.org".')
    if aggregates[0].startswith("aggr0"):
        raise Refusal(917597, "Provisioning a volume on a root aggregate is not supported.")
    reserve = body.get("space", {}).get("snapshot", {}).get("reserve_percent", 5)
    if reserve > 90:
        raise Refusal(917835, "Maximum allowed snapshot.reserve_percent value during a volume creation is 90.")
    size = _size(body.get("size", MIN_SIZE))
    _require_policy(world, svm, body)
    _require_autosize(body.get("autosize", {}), size)
    return world.add_volume(
        body["name"],
        svm=svm,
        aggregate=aggregates[0],
        size=size,
        comment=body.get("comment", ""),
        nas=body.get("nas", {}),
        space={"snapshot": {"reserve_percent": reserve}},
        autosize={"maximum": -(-size * 6 // 5)} | body.get("autosize", {}),
        **{name: body[name] for name in _PLAIN if name in body},
    )


#: Objects of a body that are taken over as they are.
_PLAIN = ("snapshot_policy", "guarantee", "qos", "tiering")


def _cloned(world: World, svm: str, body: Record) -> Record:
    _require_free(world, svm, body)
    parent_reference = body["clone"].get("parent_volume", {})
    parent = next((one for one in world.volumes.values() if _is_named(one, svm, parent_reference)), None)
    if parent is None:
        raise Refusal(524601, f'Parent volume "{parent_reference.get("name")}" not found.')
    name = body["clone"].get("parent_snapshot", {}).get("name")
    snapshot = next((one for one in world.snapshots[parent["uuid"]].values() if one["name"] == name), None)
    if snapshot is None:
        raise Refusal(1638600, f'The snapshot "{name}" does not exist.')
    clone = {
        "is_flexclone": True,
        "parent_volume": {"name": parent["name"], "uuid": parent["uuid"]},
        "parent_snapshot": {"name": name, "uuid": snapshot["uuid"]},
    }
    nas = {"export_policy": dict(parent["nas"]["export_policy"])} | body.get("nas", {})
    aggregate = parent["aggregates"][0]["name"]
    snapshot.setdefault("owners", []).append("volume_clone")
    space = {"snapshot": {"reserve_percent": parent["space"]["snapshot"]["reserve_percent"]}}
    return world.add_volume(
        body["name"], svm=svm, aggregate=aggregate, size=parent["size"], nas=nas, clone=clone, space=space,
        autosize=dict(parent["autosize"]),
    )  # fmt: skip


def _is_named(volume: Record, svm: str, reference: Record) -> bool:
    if volume["svm"]["name"] != svm:
        return False
    is_same = {volume[key] == reference[key] for key in ("uuid", "name") if key in reference}
    if is_same == {True, False}:
        raise Refusal(918236, 'The specified "parent_volume.uuid" and "parent_volume.name" do not match.')
    return is_same == {True}


# --- changes


def patch_volume(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    volume = world.volumes.get(path_match["uuid"])
    body = request.body
    restore = {name: value for name, value in request.query.items() if name.startswith("restore_to.")}
    unknown = set(request.query) - set(restore) - {"return_timeout", "validate_only", "sizing_method", "nvfail"}
    if unknown:
        raise Refusal(262179, f'Unexpected argument "{unknown.pop()}".')
    VOLUME.require_body(body, "PATCH")
    require_known_body(world, body)
    if not body and not restore:
        raise Refusal(262190, "The PATCH request has no fields to change.")

    def apply() -> None:
        now = world.volumes.get(path_match["uuid"])
        if now is None:
            raise missing()
        if restore:
            _restored(world, now, restore)
        _changed(world, now, body)
        world.effect("PATCH", request.path, **body, **restore)

    if volume is not None and not in_scope(request, volume):
        raise missing()
    return start_job(world, request, apply, svm=volume["svm"]["name"] if volume else world.vserver)


def _changed(world: World, volume: Record, body: Record) -> None:
    """All or nothing: everything is checked first."""
    size = _size(body.get("size", volume["size"]))
    policy = _require_policy(world, volume["svm"]["name"], body)
    autosize = volume.get("autosize", {}) | body.get("autosize", {})
    if "autosize" in body or "size" in body:
        _require_autosize(autosize, size)
    state = body.get("state")
    if volume["type"] != "rw":
        raise Refusal(917628, "The operation is not allowed on a volume of that type.")
    _require_mountable(world, volume, body)
    if state and volume["is_svm_root"]:
        raise Refusal(917775, "The root volume of a Vserver cannot change its state.")
    if state not in {None, "online", "offline", "restricted"}:
        raise Refusal(918652, f'"{state}" is an invalid value for field "-state".')
    compression = body.get("efficiency", {}).get("compression")
    dedupe = body.get("efficiency", {}).get("dedupe", volume["efficiency"].get("dedupe"))
    if compression not in {None, "none"} and dedupe in {None, "none"}:
        raise Refusal(6881332, "Efficiency is not enabled on the volume.")
    volume["size"] = size
    volume["autosize"] = autosize
    volume["efficiency"] |= body.get("efficiency", {})
    volume["comment"] = body.get("comment", volume["comment"])
    volume["space"]["snapshot"] |= body.get("space", {}).get("snapshot", {})
    _take_plain(volume, body)
    if policy:
        volume["nas"]["export_policy"] = {"name": policy}
    if "path" in body.get("nas", {}):
        _mounted(volume, body["nas"]["path"])
    if state:
        volume["state"] = state
        if state != "online":
            volume["nas"].pop("path", None)
    refresh(volume)


def _require_mountable(world: World, volume: Record, body: Record) -> None:
    path = body.get("nas", {}).get("path")
    if not path:
        return
    if body.get("state", volume["state"]) != "online":
        raise Refusal(918236, "The volume must be online to be mounted.")
    if any(one is not volume and _path(one) == path.lower() for one in _of_svm(world, volume["svm"]["name"])):
        raise Refusal(918252, '"nas.path" is invalid.', target="nas.path")


def _take_plain(volume: Record, body: Record) -> None:
    for name in _PLAIN:
        volume[name] |= body.get(name, {})
    if volume["qos"].get("policy", {}).get("name") == "none":
        volume["qos"] = {}
    volume["nas"] |= {name: value for name, value in body.get("nas", {}).items() if name in _NAS}


_NAS = ("security_style", "unix_permissions")


def _of_svm(world: World, svm: str) -> list[Record]:
    return [volume for volume in world.volumes.values() if volume["svm"]["name"] == svm]


def _path(volume: Record) -> str:
    path: str = (volume["nas"] or {}).get("path", "")
    return path.lower()


def _mounted(volume: Record, path: str) -> None:
    volume["nas"].pop("path", None)
    if path:
        volume["nas"]["path"] = path


def _size(size: Any) -> int:
    if size < MIN_SIZE:
        raise Refusal(917534, 'The value specified for field "-size" is too small.', target="size")
    if size > MAX_SIZE:
        raise Refusal(918647, 'One or more of the fields "-max-autosize","-size" are beyond the limit.', target="size")
    return -(-int(size) // 4096) * 4096


def _require_policy(world: World, svm: str, body: Record) -> str:
    name: str = body.get("nas", {}).get("export_policy", {}).get("name", "")
    names = {policy["name"] for policy in world.policies.values() if policy["svm"]["name"] == svm}
    if name and name not in names:
        raise Refusal(918271, "Failed to get valid export policy.", target="nas.export_policy.name")
    return name


def _require_autosize(autosize: Record, size: int) -> None:
    maximum = autosize.get("maximum", size)
    if maximum > MAX_SIZE * 6 // 5:
        raise Refusal(918521, "The volume maximum autosize must be smaller than or equal to the maximum volume size.")
    if autosize.get("mode", "off") != "off" and maximum < size - 4096:
        raise Refusal(917831, "Volume minimum autosize must be smaller than the maximum autosize.")


def _restored(world: World, volume: Record, restore: Record) -> None:
    snapshots = world.snapshots[volume["uuid"]]
    name, uuid = restore.get("restore_to.snapshot.name"), restore.get("restore_to.snapshot.uuid")
    matching = [one for one in snapshots.values() if one["uuid"] == uuid or one["name"] == name]
    if not matching:
        raise Refusal(1638600, f'The snapshot "{name or uuid}" does not exist.')
    order = list(snapshots)
    for later in order[order.index(matching[0]["uuid"]) + 1 :]:
        del snapshots[later]


ROUTES: list[Route] = [
    ("GET", r"/storage/volumes", list_volumes),
    ("POST", r"/storage/volumes", create_volume),
    ("GET", r"/storage/volumes/(?P<uuid>[^/]+)", get_volume),
    ("PATCH", r"/storage/volumes/(?P<uuid>[^/]+)", patch_volume),
]
