"""Every command, as a process, on the service as it ships."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys

import click
import pytest
import requests
import yaml
from tests.e2e.own_stack import PASSWORD, USER

from storage_api_client.cli.program import command_line

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(200)]


def test_the_first_volume_its_snapshot_and_a_roll_back(cli, name):
    made = cli("volume", "create", "dummy", name, "--size", "10GiB", "-o", "json")
    assert (made.status, made.json["size_total"]) == (0, 10 * 2**30)
    assert cli("snapshot", "create", "dummy", name, "first").status == 0
    assert cli("snapshot", "create", "dummy", name, "second").status == 0
    back = cli("volume", "rollback", "dummy", name, "--to", "first", "--yes")
    assert back.status == 0, back.err
    assert cli("snapshot", "list", "dummy", name, "-o", "name").out.split() == ["first"]


def test_a_volume_from_its_creation_to_its_clone(cli, volume):
    assert cli("volume", "update", "dummy", volume, "--size", "2GiB", "--no-autosize").status == 0
    record = cli("volume", "show", "dummy", volume, "-o", "json").json
    assert (record["size_total"], record["autosize_enabled"]) == (2 * 2**30, False)
    assert cli("snapshot", "create", "dummy", volume, "base").status == 0
    clone = cli("volume", "clone", "dummy", f"{volume}_copy", "--from", f"{volume}@base", "-o", "name")
    assert (clone.status, clone.out) == (0, f"{volume}_copy\n")
    assert cli("snapshot", "show", "dummy", volume, "base", "-o", "json").json["name"] == "base"
    assert cli("snapshot", "delete", "dummy", volume, "base", "--yes").status == 0
    assert cli("snapshot", "list", "dummy", volume, "-o", "json").json == []


def test_a_volume_is_restricted_and_brought_back(cli, volume):
    gone = cli("volume", "restrict", "dummy", volume, "-y")
    assert (gone.status, gone.out) == (0, "")
    assert f"storage-api volume reinstate dummy {volume}" in gone.err
    assert cli("volume", "show", "dummy", volume).status == 5
    assert volume in cli("volume", "list", "dummy", "--restricted", "-o", "name").out.split()
    back = cli("volume", "reinstate", "dummy", volume, "--junction-path", f"/back/{volume}", "-o", "json")
    assert (back.status, back.json["junction_path"]) == (0, f"/back/{volume}")


def test_locks(cli, volume):
    assert cli("lock", "create", "dummy", volume, "h1.example.org").status == 0
    refused = cli("lock", "create", "dummy", volume, "h2.example.org")
    assert refused.status == 1
    assert cli("lock", "list", "dummy", volume, "-o", "name").out == "h1.example.org\n"
    assert cli("lock", "remove", "dummy", volume, "h1.example.org").status == 0
    assert cli("lock", "list", "dummy", volume, "-o", "json").json == []


def test_export_policies(cli, name):
    made = cli("export", "create", "dummy", name, "--rule", "10.0.0.0/8", "--rule", "*.example.org", "-o", "json")
    assert made.json["rules"] == ["10.0.0.0/8", "*.example.org"]
    assert cli("export", "rule", "add", "dummy", name, "2001:db8::/32").status == 0
    assert cli("export", "rule", "remove", "dummy", name, "10.0.0.0/8").status == 0
    assert cli("export", "show", "dummy", name, "-o", "json").json["rules"] == ["*.example.org", "2001:db8::/32"]
    assert name in cli("export", "list", "dummy", "--where", "name=t_*", "-o", "name").out.split()
    assert cli("export", "delete", "dummy", name, "--yes").status == 0
    assert cli("export", "show", "dummy", name).status == 5


def test_a_listing_by_condition_order_and_field(cli):
    listed = cli("volume", "list", "dummy", "--where", "size_used=>1GiB", "--sort", "-size_used",
                 "--fields", "name,size_used", "--limit", "3", "-o", "json").json  # fmt: skip
    assert len(listed) == 3
    assert listed == sorted(listed, key=lambda volume: -volume["size_used"])
    assert {frozenset(volume) for volume in listed} == {frozenset({"name", "size_used"})}


def test_every_output_format_has_the_same_values(cli, volume):
    def listing(form):
        return cli("volume", "list", "dummy", "--where", f"name={volume}", "-o", form).out

    [record] = json.loads(listing("json"))
    assert yaml.safe_load(listing("yaml")) == [record]
    [row] = csv.DictReader(io.StringIO(listing("csv")))
    assert row == {name: "" if value is None else str(value).replace("True", "true").replace("False", "false")
                   for name, value in record.items()}  # fmt: skip
    assert listing("name") == f"{volume}\n"
    head, line = listing("table").splitlines()
    assert head.split()[0] == "NAME"
    assert line.split()[:4] == [volume, "online", "1.00", "GiB"]


def test_jobs(cli, volume):
    waiting = cli("snapshot", "create", "dummy", volume, "s1", "--no-wait")
    job = waiting.out.strip()
    assert cli("job", "wait", job).status == 0
    assert cli("job", "show", job, "-o", "json").json["state"] == "succeeded"
    assert cli("job", "result", job, "-o", "json").json["name"] == "s1"
    listed = cli("job", "list", "--volume", volume, "--since", "2h", "--state", "succeeded", "-o", "name").out.split()
    assert job in listed
    assert cli("job", "cancel", job).status == 1
    assert cli("job", "retry", job).status == 1
    again = cli("snapshot", "create", "dummy", volume, "s1")
    assert again.status == 1
    failed = cli("job", "list", "--volume", volume, "--state", "failed", "-o", "name").out.strip()
    retried = cli("job", "retry", failed)
    assert retried.status == 0
    watched = cli("job", "watch", retried.out.strip(), job)
    assert watched.status == 1
    assert "already" in watched.err


def test_jobs_are_retried_and_cancelled_by_condition(cli, volume, name):
    cli("snapshot", "create", "dummy", volume, "s1")
    cli("snapshot", "create", "dummy", volume, "s1")
    unconfirmed = cli("job", "retry", "--volume", volume, "--state", "failed")
    assert (unconfirmed.status, unconfirmed.out) == (2, "")
    retried = cli("job", "retry", "--volume", volume, "--state", "failed", "--yes")
    assert retried.status == 0, retried.err
    assert cli("job", "wait", retried.out.strip()).status == 1
    refused = cli("job", "cancel", "--volume", volume, "--operation", "create_volume", "--yes")
    assert (refused.status, refused.out) == (1, "")
    assert "was left as it is: job-not-cancellable" in refused.err
    cli("volume", "create", "slow", name, "--no-wait")
    waiting = cli("volume", "update", "slow", name, "--size", "1GiB", "--no-wait").out.strip()
    stopped = cli(
        "job",
        "cancel",
        "--volume",
        name,
        "--state",
        "queued",
        "--operation",
        "update_volume",
        "--operation",
        "restrict_volume",
        "--yes",
    )
    assert stopped.out.split() == [waiting]
    everybody = cli("job", "list", "--all", "--volume", name, "--requested-by", USER, "-o", "name")
    assert waiting in everybody.out.split()


def test_a_job_is_cancelled(cli, name, api):
    first = api.subsystem("slow").volumes.create(name, wait=False)
    second = cli("volume", "update", "slow", name, "--size", "1GiB", "--no-wait").out.strip()
    assert cli("job", "cancel", second).status == 0
    waited = cli("job", "wait", second)
    assert (waited.status, "cancelled" in waited.err) == (1, True)
    first.wait(timeout=20)


def test_sessions_of_a_user_are_ended(cli, stack):
    with requests.Session() as browser:
        signed_in = browser.post(f"{stack.url}/login_basic", auth=(USER, PASSWORD), timeout=20)
        assert signed_in.ok
        ended = cli("session", "end", USER)
        assert (ended.status, ended.err) == (0, "Sessions ended: 1.\n")
        assert browser.get(f"{stack.url}/v4/jobs", timeout=20).status_code == 401


def test_the_service(cli, stack):
    assert cli("subsystem", "list").out.split() == ["dummy", "slow", "away"]
    assert cli("status", "-o", "json").json["ready"] is True
    assert "sapi_" in cli("status", "--metrics").out
    assert cli("role", "list", "-o", "name").out.split() == ["USER", "ADMIN", "UBER_ADMIN"]
    who = cli("whoami", "-o", "json").json
    assert (who["url"], who["signed_in"], who["roles"]) == (stack.url, "basic", ["USER", "ADMIN", "UBER_ADMIN"])
    assert cli("whoami", "--role", "ADMIN").status == 0


def test_logout_ends_the_session(cli):
    assert cli("logout").status == 0
    assert cli("volume", "create", "dummy", "never").status == 4
    assert cli("whoami").status == 4


def test_the_commands_of_a_group_are_listed(bare):
    for words in ([], *([name] for name in command_line().commands)):
        help_page = bare(*words, "--help")
        assert (help_page.status, help_page.err) == (0, "")
        assert "Usage: storage-api" in help_page.out


def _leaves(group: click.Group, *path: str) -> list[tuple[str, ...]]:
    leaves = []
    for name, command in group.commands.items():
        below = (*path, name)
        leaves += _leaves(command, *below) if isinstance(command, click.Group) else [below]
    return leaves


@pytest.mark.parametrize("words", _leaves(command_line()), ids=lambda names: " ".join(sorted(names)))
def test_every_command_has_help(words):
    group: click.Command = command_line()
    for word in words:
        assert isinstance(group, click.Group)
        group = group.commands[word]
    assert group.help
    assert [parameter.opts for parameter in group.params if isinstance(parameter, click.Option) and
            parameter.secondary_opts == [] and not parameter.help and not isinstance(parameter.type, click.Choice)
            and parameter.name not in ("subsystem", "volume")] == []  # fmt: skip


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there_for_each_shell(bare, shell):
    printed = bare("completion", shell)
    assert printed.status == 0
    assert "_STORAGE_API_COMPLETE" in printed.out


def test_bash_completes_commands(bare):
    bare.environment = {"_STORAGE_API_COMPLETE": "bash_complete", "COMP_WORDS": "storage-api vol", "COMP_CWORD": "1"}
    completed, _ = bare.start().communicate(timeout=30)
    assert completed == "plain,volume\n"


def test_help_imports_few_modules():
    code = "import sys; from storage_api_client.cli.program import command_line; command_line(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": ""})  # fmt: skip
    loaded = set(done.stdout.split())
    assert "click" in loaded
    assert loaded & {"httpx", "rich", "yaml", "asyncio", "storage_api_client.models"} == set()
