"""What is wrong with a file of receivers is said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worker.webhooks.receiver import SECRET
from worker.config.settings import BadSettings, load
from worker.webhooks.receivers import read_receivers
from worker.webhooks.settings import WebhookSettings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a", "not TOML"),
        ("a = 1", "stands outside a table"),
        ('["a b"]\nurl = "https://x"', "the name must be"),
        ('[a]\nurl = "ftp://x"\nsecret = {env = "S"}', "url must be"),
        ('[a]\nurl = "https://x"', "secret must be"),
        ('[a]\nurl = "https://x"\nsecret = "plain"', "secret must be"),
        ('[a]\nurl = "https://x"\nsecret = {env = "NONE"}', "is not set"),
        ('[a]\nurl = "https://x"\nsecret = {env = "SHORT"}', "24 to 64 bytes"),
        ('[a]\nurl = "https://x"\nsecret = {env = "URL_SAFE"}', "24 to 64 bytes"),
        ('[a]\nurl = "https://x"\nsecret = {file = "none"}', "cannot be read"),
        ('[a]\nurl = "https://x"\nsecret = {env = "S"}\nevents = ["job.queued"]', "events must be"),
        ('[a]\nurl = "https://x"\nsecret = {env = "S"}\noperation = "batch,odd"', "none called 'odd'"),
        ('[a]\nurl = "https://x"\nsecret = {env = "S"}\nfilter = "x"', "unknown option 'filter'"),
        ('[a]\nurl = "https:///x"\nsecret = {env = "S"}', "url must be"),
        ('[a]\nurl = "https://x"\nsecret = {env = "S"}\nevents = []', "events must be"),
        ('[a]\nurl = "https://x"\nsecret = {env = "S"}\nevents = "job.failed"', "events must be"),
        ('[a]\nurl = "https://x"\nsecret = {env = "S"}\nevents = 5', "events must be"),
        ('[a]\nurl = "https://x"\nsecret = {env = "S"}\nvolume = ""', "volume must be text"),
        ('[a]\nurl = "https://ann:pw@x"\nsecret = {env = "S"}', "without user"),
        ('[a]\nurl = "https://x:65536"\nsecret = {env = "S"}', "url must be"),
        ('[a]\nurl = "https://x"\nsecret = {env = "S"}\nstate = "failed,faild"', "state: there is none called 'faild'"),
        ('[a]\nurl = "https://x"\nsecret = {env = "S"}\nstate = ["failed"]', "state must be text"),
        ('[a]\nurl = "https://x"\nsecret = {env = "S"}\nstate = "queued, running"', "leave nothing to be sent"),
        ('[a]\nurl = "https://x"\nsecret = {env = "S"}\nevents = ["job.failed"]\nstate = "succeeded"', "leave nothing"),
        (f'[{"a" * 64}]\nurl = "https://x"\nsecret = {{env = "S"}}', "the name must be"),
    ],
)
def test_an_invalid_file_is_reported_in_one_line(tmp_path: Path, text: str, words: str):
    file = tmp_path / "hooks.toml"
    file.write_text(text)
    with pytest.raises(BadSettings, match=words) as caught:
        read_receivers(
            load(WebhookSettings, webhooks_file=str(file)),
            {"S": SECRET, "SHORT": "whsec_QUJD", "URL_SAFE": f"{SECRET}-_-_"},
        )
    assert "plain" not in str(caught.value)


def test_an_unreadable_file_is_reported(tmp_path: Path):
    with pytest.raises(BadSettings, match="SAPI_WEBHOOKS_FILE: the file cannot be read: No such file"):
        read_receivers(load(WebhookSettings, webhooks_file=str(tmp_path / "none")))


def test_every_filter_of_a_receiver_is_applied(tmp_path: Path):
    file, longest = tmp_path / "hooks.toml", "a-b_" + "c" * 59
    (tmp_path / "secret").write_text(f" {SECRET}\n")
    file.write_text(
        f'[{longest}]\nurl = "http://x/"\nsecret = {{file = "secret"}}\nstate = "cancelled, failed"\n'
        'events = ["job.succeeded", "job.failed"]\n'
        'operation = "batch, update_volume"\nsubsystem = "one"\nbatch = "id"\nvolume = "v"\nrequested_by = "ann"\n'
    )
    ((name, receiver),) = read_receivers(load(WebhookSettings, webhooks_file=str(file))).items()
    assert (name, receiver.name, receiver.secret, [*receiver.events]) == (longest, name, SECRET, ["job.failed"])
    job_filter = receiver.job_filter
    assert (job_filter.subsystem, job_filter.batch, job_filter.volume) == ("one", "id", "v")
    assert (job_filter.requested_by, job_filter.operations) == ("ann", ("batch", "update_volume"))
    assert SECRET not in repr(receiver)


def test_without_a_file_there_are_no_receivers_but_those_of_the_folder_of_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = load(WebhookSettings)
    for environ in ({}, {"SAPI_SECRETS_DIR": str(tmp_path)}):
        assert read_receivers(settings, environ) == {}
    (tmp_path / "webhooks.toml").write_text('[a]\nurl = "https://x"\nsecret = {env = "S"}\n')
    # A file of this name where the process happens to run is none of its.
    monkeypatch.chdir(tmp_path)
    assert read_receivers(settings, {}) == {}
    assert list(read_receivers(settings, {"SAPI_SECRETS_DIR": str(tmp_path), "S": SECRET})) == ["a"]
