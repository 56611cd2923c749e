"""Secrets of a Compose stack from start to start: who may read them, and that they stay until they are changed."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.compose import make_secrets
from deploy.kubernetes.make_secrets import make
from storage_backends.configuration.subsystems import Subsystems
from tests.deploy.stack import ROOT

_PRIVATE, _PUBLIC = 0o640, 0o644


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The volumes of all readers, and what the operator gives to each: nothing yet."""
    for variable in ("SAPI_BACKENDS", "SAPI_BACKENDS_FILE", "SAPI_NAMES", "SAPI_KEY_PREFIX"):
        monkeypatch.delenv(variable, raising=False)
    for reader in (*make_secrets.READERS, "redis"):
        (tmp_path / reader).mkdir()
    for reader in make_secrets.READERS:
        (tmp_path / "given" / reader).mkdir(parents=True)
    return tmp_path


def start(folder: Path) -> None:
    assert make_secrets.main(ROOT / "deploy/redis/users.acl", folder, folder / "given") == 0


def give(folder: Path, file: str, text: str) -> Path:
    """Put a file where the operator does, closed to all others."""
    path = folder / "given" / file
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return path


def digest_of(folder: Path, user: str) -> str:
    """What Redis knows of the password of a user."""
    users = (folder / "redis" / "users.acl").read_text("utf-8")
    (digest,) = re.findall(rf"^user {user} on #(\w+) ", users, re.MULTILINE)
    return str(digest)


def test_secrets_are_for_their_readers_group_alone(folder: Path) -> None:
    give(folder, "api/oauth_secret_key", "from the provider")
    give(folder, "api/.gitignore", "*")
    start(folder)
    assert not (folder / "api" / ".gitignore").exists()
    modes = {
        f"{path.parent.name}/{path.name}": path.stat().st_mode & 0o777
        for reader in (*make_secrets.READERS, "redis")
        for path in (folder / reader).glob("[!.]*")
    }
    assert {modes.pop(name) for name in ("redis/users.acl", "redis/health_password")} == {_PUBLIC}
    assert len(modes) >= 12
    assert set(modes.values()) == {_PRIVATE}


def secrets_in(folder: Path) -> list[str]:
    """Every password and key, out of URLs, too."""
    names = ("*_url", "secret_key", "*_password")
    texts = [path.read_text("utf-8") for name in names for path in sorted(folder.glob(f"*/{name}"))]
    return [re.sub(r"^redis://[a-z-]+:(.*)@redis:6379/0$", r"\1", text) for text in texts]


def test_no_two_secrets_are_the_same_and_none_can_be_guessed(folder: Path) -> None:
    start(folder)
    first = secrets_in(folder)
    for path in (path for reader in (*make_secrets.READERS, "redis") for path in (folder / reader).iterdir()):
        path.unlink()
    start(folder)
    # Those of another stack are others.
    secrets = [*first, *secrets_in(folder)]
    assert len(set(secrets)) == len(secrets) == 20
    assert min(map(len, secrets)) >= 24


def test_redis_knows_each_user_by_the_password_of_its_url(folder: Path) -> None:
    start(folder)
    for user, file in make_secrets.USERS.items():
        password = (folder / file).read_text("utf-8").split(":")[2].partition("@")[0]
        assert digest_of(folder, user) == hashlib.sha256(password.encode()).hexdigest()


def test_a_url_that_ends_with_the_line_has_its_password(folder: Path) -> None:
    """As an editor leaves it."""
    give(folder, "worker/redis_url", "redis://worker:open-sesame@redis:6379/0\n")
    start(folder)
    assert digest_of(folder, "worker") == hashlib.sha256(b"open-sesame").hexdigest()


def test_with_an_external_redis_ours_still_requires_a_password(folder: Path) -> None:
    give(folder, "worker/redis_url", "rediss://worker:open-sesame@redis.example.org:6380/0")
    start(folder)
    assert digest_of(folder, "worker") not in {hashlib.sha256(word).hexdigest() for word in (b"", b"open-sesame")}


def test_a_replacement_of_a_removed_file_is_kept(folder: Path) -> None:
    given = give(folder, "api/secret_key", "of the operator")
    start(folder)
    given.unlink()
    start(folder)
    made = (folder / "api/secret_key").read_text("utf-8")
    assert made != "of the operator"
    start(folder)
    assert (folder / "api/secret_key").read_text("utf-8") == made


def test_users_of_redis_reach_the_keys_with_the_configured_prefix(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(folder)
    users = (folder / "redis" / "users.acl").read_text("utf-8")
    assert users.count("~sapi:") > 50
    monkeypatch.setenv("SAPI_KEY_PREFIX", "other-one:")
    start(folder)
    others = (folder / "redis" / "users.acl").read_text("utf-8")
    assert others == users.replace("~sapi:", "~other-one:").replace("&sapi:", "&other-one:") != users


def test_an_invalid_prefix_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("SAPI_KEY_PREFIX", "a: ~* +@all")
    assert make_secrets.main(ROOT / "deploy/redis/users.acl", folder, folder / "given") == 2
    assert "SAPI_KEY_PREFIX" in capsys.readouterr().err
    assert not (folder / "redis" / "users.acl").exists()


def test_secrets_of_a_cluster_have_the_prefix_too() -> None:
    users = [secret["stringData"].get("users.acl", "") for secret in make(prefix="other:")]
    text = "".join(users)
    assert (text.count("~other:") > 50, "sapi:" in text) == (True, False)


def test_an_invalid_prefix_makes_no_secrets_of_a_cluster() -> None:
    command = [sys.executable, str(ROOT / "deploy/kubernetes/make_secrets.py")]
    environment = {**os.environ, "SAPI_KEY_PREFIX": "a b"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "SAPI_KEY_PREFIX must be" in done.stderr


def test_the_prefix_of_compose_is_that_of_the_users_and_of_every_process() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    for name in ("secrets", "redis"):
        assert services[name]["environment"]["SAPI_KEY_PREFIX"] == "${SAPI_KEY_PREFIX:-}", name
    for name in make_secrets.READERS:
        settings = ROOT / "deploy/compose/settings" / f"{name}.env"
        assert "SAPI_KEY_PREFIX" in settings.read_text("utf-8").splitlines(), name


class TestSecrets:
    """What the service ``secrets`` leaves for each reader."""

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        for variable in ("SAPI_BACKENDS", "SAPI_BACKENDS_FILE", "SAPI_NAMES"):
            monkeypatch.delenv(variable, raising=False)
        for name in (
            "api",
            "worker",
            "webhooks",
            "flower",
            "redis",
            *(f"given/{reader}" for reader in make_secrets.READERS),
        ):
            (tmp_path / name).mkdir(parents=True)
        return tmp_path

    @staticmethod
    def make(folder: Path) -> int:
        return make_secrets.main(ROOT / "deploy/redis/users.acl", folder, folder / "given")

    @staticmethod
    def names(folder: Path, reader: str) -> tuple[str, ...]:
        return Subsystems.names_from_environment({"SAPI_SECRETS_DIR": str(folder / reader)})

    def test_the_default_storage_system_is_the_dummy(self, folder: Path) -> None:
        assert self.make(folder) == 0
        assert {self.names(folder, reader) for reader in ("api", "worker", "flower")} == {("dummy",)}
        assert [path.name for path in (folder / "webhooks").glob("[!.]*")] == ["redis_url"]

    def test_given_files_reach_their_reader_only_and_are_removed_with_the_source(self, folder: Path) -> None:
        source = folder / "given" / "api" / "oauth_secret_key"
        source.write_text("from the provider", "utf-8")
        self.make(folder)
        assert (folder / "api" / "oauth_secret_key").read_text("utf-8") == "from the provider"
        assert [path.parent.name for path in folder.glob("*/oauth_secret_key")] == ["api"]
        source.unlink()
        self.make(folder)
        assert list(folder.glob("*/oauth_secret_key")) == []
        assert (folder / "api" / "secret_key").exists()

    def test_existing_secrets_are_kept_unless_given(self, folder: Path) -> None:
        (folder / "given" / "api" / "secret_key").write_text("of the operator", "utf-8")
        self.make(folder)
        before = {path: path.read_text("utf-8") for path in folder.glob("*/*") if path.is_file()}
        assert before[folder / "api" / "secret_key"] == "of the operator"
        assert self.make(folder) == 0
        assert {path: path.read_text("utf-8") for path in before} == before

    def test_of_given_storage_systems_the_front_end_learns_the_names(self, folder: Path) -> None:
        text = '[filer1]\ndriver = "NetappStorage"\npassword = "hidden"\n'
        (folder / "given" / "worker" / "backends.toml").write_text(text, "utf-8")
        assert self.make(folder) == 0
        assert self.names(folder, "api") == self.names(folder, "flower") == ("filer1",)
        assert "hidden" in (folder / "worker" / "backends.toml").read_text("utf-8")
        assert "hidden" not in (folder / "api" / "backends.toml").read_text("utf-8")

    def test_names_that_do_not_fit_are_refused_with_the_line_that_does(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("SAPI_BACKENDS", "one🌈NetappStorage🌈password🌈hidden🦄two🌈DummyStorage")
        assert self.make(folder) == 2
        complaint = capsys.readouterr().err
        assert "SAPI_NAMES=one🌈NetappStorage🦄two🌈DummyStorage" in complaint
        assert "hidden" not in complaint
        monkeypatch.setenv("SAPI_NAMES", "one🌈NetappStorage🦄two🌈DummyStorage")
        assert self.make(folder) == 0
