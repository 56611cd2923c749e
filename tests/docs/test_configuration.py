"""The page of variables is what the code reads, and a wrong value stops each process with one line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.docs import configuration
from tests.launcher import clean_environment
from worker.config.settings import BadSettings, Settings, load

_TOP = Path(__file__).resolve().parents[2]
_NAME = re.compile(r"""["'](SAPI_[A-Z_]+[A-Z])["']""")
_STARTS = {
    "API": [sys.executable, "-c", "import api.wsgi"],
    "worker": [sys.executable, "-m", "worker.main"],
    "Flower": [sys.executable, "-m", "celery", "-A", "worker.flower.app:app", "flower"],
}


def test_the_committed_page_is_up_to_date():
    assert configuration.PAGE.read_text(encoding="utf-8") == configuration.page(), "run: make configuration"


@pytest.mark.parametrize("process", configuration.ENV_FILES)
def test_the_committed_lists_for_compose_are_up_to_date(process):
    committed = configuration.ENV_FILES[process].read_text(encoding="utf-8")
    assert committed == configuration.env_file(process), "run: make configuration"


def test_every_variable_that_the_code_names_is_on_the_page():
    page = configuration.page()
    sources = [
        path for folder in ("api", "worker", "storage_backends", "deploy/dev") for path in (_TOP / folder).rglob("*.py")
    ]
    variables = {name for path in sources for name in _NAME.findall(path.read_text(encoding="utf-8"))}
    assert len(variables) > 5
    assert {
        name for name in variables if f"`{name.removesuffix('_FILE')}`" not in page and f"`{name}`" not in page
    } == set()


def test_every_limit_is_on_the_page_for_operators():
    limits = set(re.findall(r"`(SAPI_(?:MAX_[A-Z]\w*|\w+_(?:MAX|RATE|SHARE|LIMIT|PERCENT)))`", configuration.page()))
    assert len(limits) > 20
    section = (
        (_TOP / "docs/operating.md").read_text(encoding="utf-8").partition("\n## Limits\n")[2].partition("\n## ")[0]
    )
    assert {name for name in limits if f"`{name}`" not in section} == set()


def test_every_option_and_variable_has_a_meaning():
    rows = [line for line in configuration.page().splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert [row for row in rows if re.search(r"\|\s*\|$", row)] == []


@pytest.mark.parametrize("process", _STARTS)
@pytest.mark.parametrize(
    ("variable", "value"), [("SAPI_CACHE_FRESH", "soon"), ("SAPI_LEASE", "1000"), ("SAPI_REDIS_URL_FILE", "/not/there")]
)
def test_an_invalid_value_stops_the_start_with_one_line(process, variable, value):
    environment = clean_environment() | {"SAPI_BACKENDS": "dummy🌈DummyStorage", "SAPI_DEBUG": "true", variable: value}
    ended = subprocess.run(
        _STARTS[process], cwd=_TOP, env=environment, check=False, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, ended.stderr
    assert variable in lines[0]


@pytest.mark.parametrize("name", ["redis_url", "broker_url"])
def test_a_secret_of_the_queue_may_be_read_from_a_file(tmp_path, monkeypatch, name):
    secret = tmp_path / "url"
    secret.write_text("redis://:open-sesame@redis.test:6379/1\n")
    monkeypatch.setenv(f"SAPI_{name.upper()}_FILE", str(secret))
    assert getattr(load(Settings), name).get_secret_value() == "redis://:open-sesame@redis.test:6379/1"


def test_a_secret_given_twice_is_refused_without_showing_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SAPI_REDIS_URL", "redis://:open-sesame@redis.test")
    monkeypatch.setenv("SAPI_REDIS_URL_FILE", str(tmp_path / "url"))
    with pytest.raises(BadSettings, match="SAPI_REDIS_URL and SAPI_REDIS_URL_FILE are both set") as refused:
        load(Settings)
    assert "open-sesame" not in str(refused.value)
