"""``/cluster``, ``/cluster/jobs``, ``/svm/svms``, ``/storage/aggregates``, and the command line's ``volume modify``."""

from __future__ import annotations

import re
import time

from tests.ontap_simulator.errors import Refusal, missing
from tests.ontap_simulator.exchange import Reply, Request, Route, listing, one
from tests.ontap_simulator.queries import matches
from tests.ontap_simulator.shapes import AGGREGATE, CLUSTER, JOB, SVM
from tests.ontap_simulator.world import Record, World, now_text

CACHING_POLICIES = frozenset(
    {
        "none", "auto", "meta", "random_read", "random_read_write", "all_read", "all_read_random_write", "all",
        "noread_random_write", "meta_random_write", "all_random_write",
    }
)  # fmt: skip


def list_jobs(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    return listing(world, request, JOB, [job.record() for job in world.jobs.values()])


def get_job(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    job = world.jobs.get(path_match["uuid"])
    return one(world, request, JOB, None if job is None else job.record())


def patch_job(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    job = world.jobs.get(path_match["uuid"])
    if job is None:
        raise missing()
    if set(request.query) != {"action"} or request.query["action"] not in {"cancel", "pause", "resume"}:
        raise Refusal(262197, 'The value is invalid for field "action"', target="action")
    if job.ended:
        raise Refusal(458762, "Job is already in a terminal state.")
    if not job.cancellable:
        raise Refusal(458784, "This job does not support cancel.")
    job.state, job.code, job.message = "failure", 458756, "Job was cancelled."
    job.ended, job.ended_at = now_text(), time.monotonic()
    return Reply()


def get_cluster(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    if request.scope:
        raise Refusal(6, "not authorized for that command")
    generation, major, minor = world.version
    full = f"NetApp Release {generation}.{major}.{minor}: Thu Aug 10 12:00:00 UTC 2017"
    version = {"generation": generation, "major": major, "minor": minor, "full": full}
    return one(world, request, CLUSTER, {"name": "cluster1", "version": version})


def list_vservers(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    data = [{"name": name, "free": one["free"]} for name, one in world.aggregates.items() if name[:5] != "aggr0"]
    records = [
        {
            "uuid": "svm-" + name,
            "name": name,
            "state": state,
            "svm": {"name": name},
            "aggregates": [{"name": entry["name"], "available_size": entry["free"]} for entry in data],
            "_links": {"self": {"href": f"/api/svm/svms/svm-{name}"}},
        }
        for name, state in world.vservers.items()
    ]
    return listing(world, request, SVM, records)


def list_aggregates(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    if request.scope:
        raise Refusal(6, "not authorized for that command")
    records: list[Record] = [
        {
            "uuid": "aggr-" + name,
            "name": name,
            "state": "online",
            "node": {"name": entry["node"]},
            "space": {"block_storage": {"available": entry["free"], "size": 10**15}},
        }
        for name, entry in world.aggregates.items()
        if not name.startswith("aggr0")
    ]
    return listing(world, request, AGGREGATE, records)


def modify_volume(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    """``volume modify``: every volume that the query names is changed, patterns and all."""
    query, body = dict(request.query), {key.replace("-", "_"): value for key, value in request.body.items()}
    if set(query) - {"vserver", "volume", "return_timeout"} or set(body) != {"caching_policy"}:
        raise Refusal(262179, "Unexpected argument.")
    if body["caching_policy"] not in CACHING_POLICIES:
        raise Refusal(262197, f'"{body["caching_policy"]}" is an invalid value for field "-caching-policy"')
    query.pop("return_timeout", None)
    hit = [
        volume
        for volume in world.volumes.values()
        if matches({"vserver": volume["svm"]["name"], "volume": volume["name"]}, query)
        and (not request.scope or volume["svm"]["name"] == request.scope)
    ]
    if not hit:
        raise missing("volume")
    for volume in hit:
        volume["flash_pool"]["caching_policy"] = body["caching_policy"]
        world.effect("PATCH", request.path, volume=volume["name"], **body)
    return Reply(200, {"num_records": len(hit), "cli_output": "Volume modify successful.\n"})


ROUTES: list[Route] = [
    ("GET", r"/cluster", get_cluster),
    ("GET", r"/cluster/jobs", list_jobs),
    ("GET", r"/cluster/jobs/(?P<uuid>[^/]+)", get_job),
    ("PATCH", r"/cluster/jobs/(?P<uuid>[^/]+)", patch_job),
    ("GET", r"/svm/svms", list_vservers),
    ("GET", r"/storage/aggregates", list_aggregates),
    ("PATCH", r"/private/cli/volume", modify_volume),
]
