"""Releases: which images they name, how they are rolled out, and the way back."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import (
    FOLDER,
    has_kubectl,
    main_container,
    of_kind,
    pod,
)

renders = pytest.mark.skipif(not has_kubectl(), reason="kubectl is not here")


def roll_out(only: str, folder: Path = FOLDER, **settings: str) -> str:
    """What the rollout of a release would apply, by the script in ``folder``."""
    done = subprocess.run(
        [folder / "roll_out.sh", "prod", "some-namespace", "registry.example.org:5000/team", "v1.2.3"],
        env={"PATH": os.environ["PATH"], "ONLY": only} | settings,
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


def images(text: str) -> set[str]:
    manifests = tuple(yaml.safe_load_all(text))
    workloads = of_kind(manifests, "Deployment", "StatefulSet").values()
    return {each["image"] for one in workloads for each in pod(one)["containers"]}


@renders
def test_a_release_names_its_images() -> None:
    text = roll_out("render")
    registry = "registry.example.org:5000/team"
    assert {each for each in images(text) if "docker.io" not in each} == {
        f"{registry}/api:v1.2.3",
        f"{registry}/worker:v1.2.3",
    }
    assert {each["metadata"]["namespace"] for each in yaml.safe_load_all(text)} == {"some-namespace"}


@renders
def test_a_rollout_leaves_nothing_behind(tmp_path: Path) -> None:
    # On a copy: the tests of the pipelines render releases in this folder at the same time.
    unfinished = shutil.ignore_patterns(".release-*")
    copy = shutil.copytree(FOLDER.parent, tmp_path / "deploy", ignore=unfinished) / FOLDER.name
    before = set((copy / "overlays").iterdir())
    assert "registry.example.org:5000/team/api:v1.2.3" in roll_out("render", folder=copy)
    assert set((copy / "overlays").iterdir()) == before


@renders
def test_every_image_can_be_named_by_digest_and_come_from_a_mirror() -> None:
    digests = {name: f"sha256:{letter * 64}" for name, letter in zip("abcd", "abcd", strict=True)}
    text = roll_out(
        "render",
        API_DIGEST=digests["a"],
        WORKER_DIGEST=digests["b"],
        REDIS_IMAGE=f"mirror.example.org/valkey@{digests['c']}",
        PROXY_IMAGE=f"mirror.example.org/nginx@{digests['d']}",
    )
    found = images(text)
    assert {each.partition("@")[2] for each in found} == set(digests.values())
    assert not any("docker.io" in each for each in found)


@renders
def test_a_template_holds_the_release_and_changes_nothing_that_runs() -> None:
    template = yaml.safe_load(roll_out("template"))
    assert (template["kind"], template["apiVersion"]) == ("Template", "template.openshift.io/v1")
    assert template["objects"] == list(yaml.safe_load_all(roll_out("render")))
    # What OpenShift would take for a parameter.
    assert not re.search(r"\$\{\{?[A-Za-z0-9_]+\}", json.dumps(template["objects"]))


@renders
def test_an_image_stream_rolls_out_every_part_that_we_build(tmp_path: Path) -> None:
    component_path = os.path.relpath(FOLDER / "components" / "imagestream", tmp_path)
    overlay_path = os.path.relpath(FOLDER / "overlays" / "test", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{overlay_path}]\ncomponents: [{component_path}]\n", "utf-8"
    )
    text = subprocess.run(["kubectl", "kustomize", tmp_path], capture_output=True, text=True, timeout=60, check=True)
    manifests = tuple(yaml.safe_load_all(text.stdout))
    streams = of_kind(manifests, "ImageStream")
    followed = 0
    for name, workload in of_kind(manifests, "Deployment").items():
        (trigger,) = json.loads(workload["metadata"]["annotations"]["image.openshift.io/triggers"])
        stream, _, tag = trigger["from"]["name"].partition(":")
        assert tag in {each["name"] for each in streams[stream]["spec"]["tags"]}
        assert stream == main_container(workload)["image"].rpartition("/")[2].partition(":")[0], name
        assert f'@.name=="{main_container(workload)["name"]}"' in trigger["fieldPath"], name
        followed += 1
    assert followed >= 4


CLIENT = """#!/bin/sh
echo "$*" >>{log}
case "$*" in
  *'get deployment '*jsonpath*) cat {state} ;;
  *'get statefulset '*jsonpath*) cat {stores} ;;
  *'get statefulset,deployment'*) echo deployment/worker ;;
  *'get deployment -o name'*) echo deployment/new; echo deployment/part ;;
  *'get deployment/new '*jsonpath*) echo 1 ;;
  *'get deployment/part '*jsonpath*) echo 2 ;;
  *'rollout undo deployment/new') exit 1 ;;
  *'rollout status'*) [ "$(grep -c 'apply -k' {log})" != "$(cat {status})" ] ;;
  *'apply -k'*) printf 'api=3\\nworker=8\\n' >{state}; echo redis=6b >{stores} ;;
  *'rollout undo'*) echo none >{status} ;;
esac
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A client that records its arguments; after ``apply`` workers and Redis have another revision.

    ``status`` has after how many of those nothing becomes ready, until the way back.
    """
    client = tmp_path / "oc"
    files = {name: tmp_path / name for name in ("log", "state", "stores", "status")}
    client.write_text(CLIENT.format(**files), "utf-8")
    client.chmod(0o755)
    files["state"].write_text("api=3\nworker=7\n", "utf-8")
    files["stores"].write_text("redis=5a\n", "utf-8")
    files["status"].write_text("none\n", "utf-8")
    return tmp_path


@pytest.mark.parametrize(("status", "code", "applications"), [("none", 0, 2), ("1", 1, 1), ("2", 1, 2)])
def test_a_release_that_does_not_become_ready_is_rolled_back(
    cluster: Path, status: str, code: int, applications: int
) -> None:
    (cluster / "status").write_text(status, "utf-8")
    command = [str(FOLDER / "roll_out.sh"), "prod", "ns", "registry.example.org/team", "v2"]
    done = subprocess.run(
        command,
        env={"PATH": f"{cluster}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    asked = (cluster / "log").read_text("utf-8").splitlines()
    undone = [line for line in asked if "rollout undo" in line or "delete pod" in line]
    went_back = [
        "-n ns rollout undo deployment/worker --to-revision=7",
        "-n ns rollout undo statefulset/redis",
        "-n ns delete pod redis-0 --ignore-not-found",
    ]
    assert undone == ([] if code == 0 else went_back)
    applied = [line for line in asked if "apply -k" in line]
    assert len(applied) == applications
    assert "component!=api" in applied[0]
    # Each part is waited for before the next is changed.
    awaited = [re.findall(r"component!?=api", line) for line in asked if "get statefulset,deployment" in line]
    assert awaited[: len(applied)] == [["component!=api"], ["component=api"]][: len(applied)]
    assert asked.index(applied[0]) < next(place for place, line in enumerate(asked) if "rollout status" in line)


def test_a_failed_rollback_is_reported(cluster: Path) -> None:
    client = cluster / "oc"
    client.write_text(client.read_text("utf-8").replace("*'rollout undo'*)", "*'no command'*)"), "utf-8")
    (cluster / "status").write_text("1", "utf-8")
    command = [str(FOLDER / "roll_out.sh"), "prod", "ns", "registry.example.org/team", "v2"]
    environment = {"PATH": f"{cluster}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "v2 does not become ready in prod: going back",
        "what ran before does not become ready either",
    ]


def test_a_rollback_begins_with_the_front_end(cluster: Path) -> None:
    subprocess.run(
        [FOLDER / "roll_back.sh", "ns"], env={"PATH": f"{cluster}:{os.environ['PATH']}"}, check=True, timeout=60
    )
    asked = (cluster / "log").read_text("utf-8").splitlines()
    chosen = [found for line in asked for found in re.findall(r"component!?=api|rollout [a-z]+ \S+", line)]
    # What is new with this release has nothing to go back to, and keeps no other part from it.
    steps = ("rollout undo deployment/part", "rollout status deployment/part")
    assert chosen == [step for part in ("component=api", "component!=api") for step in (part, *steps)]


def test_a_rollback_that_does_not_become_ready_fails(cluster: Path) -> None:
    client = cluster / "oc"
    client.write_text(client.read_text("utf-8").replace("*'rollout undo'*)", "*'no command'*)"), "utf-8")
    (cluster / "status").write_text("0", "utf-8")
    environment = {"PATH": f"{cluster}:{os.environ['PATH']}"}
    done = subprocess.run([FOLDER / "roll_back.sh", "ns"], env=environment, check=False, timeout=60)
    assert done.returncode != 0
    # What newer front ends ask, older workers may not understand: these stay as they are.
    assert "component!=api" not in (cluster / "log").read_text("utf-8")
