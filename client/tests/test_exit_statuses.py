"""Each exit status, produced with the real service, and its message."""

from __future__ import annotations

import signal
from itertools import pairwise

import pytest
from tests.e2e.own_stack import PASSWORD, USER

from proxy import answer, proxied
from storage_api_client.cli.exit_status import ExitStatus, status_of_code, worst

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(200)]


def test_1_a_failed_job(cli, volume):
    again = cli("volume", "create", "dummy", volume)
    assert (again.status, again.out) == (1, "")
    assert "there is already" in again.err.lower()
    assert "request id" in again.err


def test_1_a_refused_request_with_the_invalid_fields(cli):
    refused = cli("volume", "create", "dummy", "bad name!", "--snapshot-reserve", "20")
    assert refused.status == 1
    assert "/volume" in refused.err or "name" in refused.err


@pytest.mark.parametrize(
    "words",
    [
        ("volume", "create"),
        ("volume", "create", "dummy", "v", "--size", "much"),
        ("volume", "update", "dummy", "v"),
        ("volume", "list", "dummy", "--where", "no condition"),
        ("volume", "clone", "dummy", "v", "--from", "v"),
        ("snapshot", "create", "dummy", "only-one"),
        ("snapshot", "create", "dummy", "v", "s", "--where", "name=*"),
        ("job", "list", "--since", "soon"),
        ("job", "cancel"),
        ("job", "cancel", "x", "--volume", "v"),
        ("volume", "restrict", "dummy", "v"),
        ("frobnicate",),
        ("--url", "storage.example.org", "volume", "list", "dummy"),
    ],
    ids=lambda names: " ".join(sorted(names)),
)
def test_2_usage(cli, words):
    wrong = cli(*words)
    assert (wrong.status, wrong.out) == (2, ""), wrong.err
    assert wrong.err.strip()


def test_2_no_url(bare):
    nowhere = bare("volume", "list", "dummy")
    assert nowhere.status == 2
    assert "STORAGE_API_URL" in nowhere.err


def test_3_an_unknown_outcome_and_a_repetition_with_the_key(cli, stack, api, name):
    with proxied(stack.url) as proxy:
        proxy.lose = 1000
        unknown = _through(cli, proxy.url, "volume", "create", "dummy", name, "--timeout", "2")
        assert unknown.status == 3, unknown.err
        key = unknown.err.partition("--idempotency-key ")[2].partition(":")[0]
        proxy.lose = 0
        assert _through(cli, proxy.url, "volume", "create", "dummy", name, "--idempotency-key", key).status == 0
    assert [job.operation for job in api.jobs.list(volume=name)] == ["create_volume"]


def _through(cli, url, *words):
    """Run a command through a proxy, signed in there by what is stored for it."""
    from storage_api_client.configuration.credentials_file import CredentialsFile

    file = CredentialsFile(cli.home / "storage-api" / "credentials.json")
    file.store({"profile": "default", "url": url, "kind": "basic", "user": USER, "password": PASSWORD})
    return cli("--url", url, *words)


def test_3_a_job_with_an_unknown_outcome():
    assert status_of_code("outcome-unknown", 500) is ExitStatus.UNKNOWN


def test_4_not_signed_in(bare, stack):
    bare.environment = {"STORAGE_API_URL": stack.url}
    stranger = bare("volume", "create", "dummy", "v")
    assert stranger.status == 4
    assert "storage-api login" in stranger.err


def test_4_a_wrong_password_is_not_stored(bare, stack):
    bare.environment = {"STORAGE_API_URL": stack.url, "STORAGE_API_PASSWORD": "wrong"}
    assert bare("login", "--basic", USER).status == 4
    assert not (bare.home / "storage-api" / "credentials.json").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("volume", "show", "dummy", "nope"),
        ("volume", "list", "nope"),
        ("snapshot", "create", "dummy", "nope", "s"),
        ("snapshot", "show", "dummy", "nope", "s"),
        ("export", "show", "dummy", "nope"),
        ("job", "show", "01990b7e-6c1e-7c55-9d0a-4b7c2f6e1a90"),
        ("job", "wait", "01990b7e-6c1e-7c55-9d0a-4b7c2f6e1a90"),
        ("volume", "rollback", "dummy", "nope", "--to", "s"),
    ],
    ids=lambda names: " ".join(sorted(names)),
)
def test_5_not_found(cli, words):
    missing = cli(*words)
    assert (missing.status, missing.out) == (5, ""), missing.err


def test_75_no_service(bare):
    bare.environment = {"STORAGE_API_URL": "http://127.0.0.1:9"}
    away = bare("status")
    assert away.status == 75
    assert "refused" in away.err


def test_75_a_storage_system_that_is_away(cli, name):
    away = cli("volume", "create", "away", name)
    assert away.status == 75, away.err
    assert "job retry" in away.err


def test_75_a_queue_that_is_full(cli, stack):
    full = ('{"type": "/problems/queue-full", "title": "Queue full", "status": 429, "code": "queue-full", '
            '"detail": "Too many jobs wait.", "retryable": true}')  # fmt: skip
    with proxied(stack.url) as proxy:
        proxy.answers = [answer("429 Too Many Requests", full, Retry_After="900")]
        refused = _through(cli, proxy.url, "volume", "create", "dummy", "v", "--timeout", "3")
    assert refused.status == 75
    assert "Too many jobs wait." in refused.err


def test_124_still_running_and_how_to_go_on(cli, name):
    late = cli("volume", "create", "slow", name, "--timeout", "0.5")
    assert late.status == 124
    command = late.err.strip().rpartition("storage-api ")[2].split()
    assert command[:2] == ["job", "wait"]
    assert cli(*command).status == 0


def test_130_an_interrupted_wait_cancels_nothing(cli, api, name):
    command = cli.start("volume", "create", "slow", name)
    assert command.stderr is not None
    assert "create_volume" in command.stderr.readline()
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=20)
    assert (command.returncode, out) == (130, "")
    job = err.strip().rpartition("job wait ")[2]
    assert api.jobs.wait(job, timeout=20)["name"] == name


def test_a_service_that_is_killed_while_it_is_waited_for(cli, stack, api, name):
    with proxied(stack.url) as proxy:
        _through(cli, proxy.url, "whoami")
        command = cli.start("--url", proxy.url, "volume", "create", "slow", name, "--timeout", "30", "-o", "name")
        assert command.stderr is not None
        assert "create_volume" in command.stderr.readline()
        proxy.refuse()
        assert "Trying again for" in command.stderr.readline()
        proxy.listen()
        out, err = command.communicate(timeout=40)
    assert (command.returncode, out) == (0, f"{name}\n"), err


def test_the_worst_of_several_statuses():
    assert (
        worst([ExitStatus.DONE, ExitStatus.STILL_RUNNING, ExitStatus.FAILED, ExitStatus.NOT_FOUND]) is ExitStatus.FAILED
    )
    assert worst([]) is ExitStatus.DONE


def test_temporary_failures_rank_below_permanent_ones():
    order = [
        ExitStatus.INTERRUPTED,
        ExitStatus.UNKNOWN,
        ExitStatus.FAILED,
        ExitStatus.USAGE,
        ExitStatus.NOT_AUTHORISED,
        ExitStatus.NOT_FOUND,
    ]
    order += [ExitStatus.UNAVAILABLE, ExitStatus.STILL_RUNNING, ExitStatus.DONE]
    assert set(order) == set(ExitStatus)
    assert [worst([less, worse]) for worse, less in pairwise(order)] == order[:-1]


def test_several_jobs_end_with_the_worst_status(cli, volume):
    good = cli("snapshot", "create", "dummy", volume, "a", "--no-wait").out.strip()
    bad = cli("snapshot", "create", "dummy", volume, "a", "--no-wait").out.strip()
    assert cli("job", "wait", good, bad).status == 1
    named_twice = cli("job", "wait", good, bad, bad)
    assert (named_twice.status, named_twice.err.count("already")) == (1, 1)


@pytest.mark.parametrize("format_", ["json", "csv"])
def test_a_closed_pipe_is_no_failure(cli, format_):
    # Buffered as outside of tests.
    cli.environment["PYTHONUNBUFFERED"] = ""
    command = cli.start("volume", "list", "dummy", "-o", format_)
    assert command.stdout is not None
    command.stdout.close()
    assert command.stderr is not None
    with command.stderr:
        assert command.stderr.read() == ""
    assert command.wait(30) == 0
