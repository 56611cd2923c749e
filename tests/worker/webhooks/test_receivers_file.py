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
        ('[a]\nurl = "https://x"\nsecret = {file = "none"}', "cannot be read"),
        ('[a]\nurl = "https://x"\nsecret = {env = "S"}\nevents = ["job.queued"]', "events must be"),
        ('[a]\nurl = "https://x"\nsecret = {env = "S"}\noperation = "batch,odd"', "none called 'odd'"),
        ('[a]\nurl = "https://x"\nsecret = {env = "S"}\nfilter = "x"', "unknown option 'filter'"),
    ],
)
def test_a_wrong_file_is_named_in_one_line(tmp_path: Path, text: str, words: str):
    file = tmp_path / "hooks.toml"
    file.write_text(text)
    with pytest.raises(BadSettings, match=words) as caught:
        read_receivers(load(WebhookSettings, webhooks_file=str(file)), {"S": SECRET, "SHORT": "whsec_QUJD"})
    assert "plain" not in str(caught.value)
