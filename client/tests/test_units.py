"""Sizes and times as people write them, exit statuses, and the file of credentials."""

from __future__ import annotations

import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier
from unittest.mock import Mock

import pytest

from storage_api_client.addresses import checked_url, is_loopback, resolve
from storage_api_client.cli.exit_status import ExitStatus, status_of, status_of_code, worst
from storage_api_client.configuration import development, service_settings
from storage_api_client.configuration.credentials_file import CredentialsFile
from storage_api_client.configuration.development import find_development_server
from storage_api_client.configuration.files import ConfigurationError
from storage_api_client.errors import (
    JobFailed,
    NotAuthorised,
    NotFound,
    OutcomeUnknown,
    Refused,
    StillRunning,
    Unavailable,
)
from storage_api_client.models import Problem
from storage_api_client.operations.paths import conditions, path, selection, where_text
from storage_api_client.sign_in.static_credentials import StaticCredentials
from storage_api_client.sizes import format_size, parse_size, sizes_in_expression
from storage_api_client.times import format_time, parse_since, parse_time


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (5, 5), ("5", 5), (" 5 B ", 5), ("10GiB", 10 * 2**30), ("10gi", 10 * 2**30), ("500 GB", 500 * 10**9),
        ("2k", 2000), ("1.5TiB", 3 * 2**39), ("0.5kB", 500), ("1EiB", 2**60), ("1PB", 10**15), ("1M", 10**6),
    ],
)  # fmt: skip
def test_each_size(text: int | str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "1.0001B", "1.2.3", "-5", "5XB", "5 5", "1e3", "٣"])
def test_invalid_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse_size(text)


@pytest.mark.parametrize("size", [True, 1.5, None])
def test_sizes_must_be_text(size: object) -> None:
    with pytest.raises(TypeError):
        parse_size(size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, ""), (0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (10 * 1024, "10.0 KiB"), (100 * 1024, "100 KiB"),
        (1000 * 1024, "0.98 MiB"), (5 * 2**40, "5.00 TiB"), (2**63 - 1, "8.00 EiB"), (-2048, "-2.00 KiB"),
    ],
)  # fmt: skip
def test_sizes_are_formatted(size: int | None, text: str) -> None:
    assert format_size(size) == text


def test_sizes_in_a_filter() -> None:
    assert sizes_in_expression(">1kB") == ">1000"
    assert sizes_in_expression("1KiB..2MB|5") == "1024..2000000|5"
    assert sizes_in_expression("1.5KiB..2.5MB") == "1536..2500000"
    assert sizes_in_expression("db1k") == "db1k"
    assert sizes_in_expression(".5kB") == ".5kB"
    assert sizes_in_expression("=5XB") == "=5XB"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../../v", "a/./b", "a//b", "n:/p/", "v/snapshots", ":/a/locks/h", "p/rule/h"]
)
def test_names_with_path_segments_are_refused(name: str) -> None:
    """A snapshot ../../v would be the volume v, which would be taken out of service in its place."""
    for parts in ((name, "volumes"), ("s", "volumes", name), ("s", "volumes", "v", "snapshots", name)):
        with pytest.raises(Refused, match="is no name"):
            path(*parts)
    assert path("s", "volumes", "rule", "snapshots", "locks") == "/v4/s/volumes/rule/snapshots/locks"


@pytest.mark.parametrize(
    ("name", "quoted"), [("a%62", "a%2562"), ("a?b#c d", "a%3Fb%23c%20d"), ("n:/p/q", "n:/p/q"), ("é", "%C3%A9")]
)
def test_names_are_escaped_in_paths(name: str, quoted: str) -> None:
    assert path("s", "volumes", name) == f"/v4/s/volumes/{quoted}"


@pytest.mark.parametrize("field", ["size_total", "size_used", "max_autosize"])
def test_conditions(field: str) -> None:
    assert selection([f"{field}=>1KiB", "name = 1KiB*"], "-name", "name, state") == (
        (field, ">1024"), ("name", "1KiB*"), ("sort", "-name"), ("fields", "name,state"),
    )  # fmt: skip
    assert where_text({field: "1kB..2kB", "autosize_enabled": True, "comment": None, "name": "a&b*"}) == (
        f"{field}=1000..2000&autosize_enabled=true&comment=null&name=a%26b*"
    )
    assert (conditions(None), conditions("state=!online")) == ((), (("state", "!online"),))
    for wrong in ("state", "=x", "state="):
        with pytest.raises(ValueError, match="no condition"):
            conditions([wrong])


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)),
        ("2026-01-02t03:04:05.1234567z", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=timezone.utc)),
        ("2026-01-02T03:04:05.5+02:00", datetime(2026, 1, 2, 1, 4, 5, 500000, tzinfo=timezone.utc)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=timezone.utc)),
        ("yesterday", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_each_time(text: str | None, moment: datetime | None) -> None:
    assert parse_time(text) == moment


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), (" 3 d ", 259200), ("1w", 604800)]
)
def test_relative_times(text: str, seconds: int) -> None:
    moment = parse_time(parse_since(text))
    assert moment is not None
    assert abs((datetime.now(timezone.utc) - moment).total_seconds() - seconds) < 60
    assert parse_since("2026-01-02T03:04:05+01:00") == "2026-01-02T02:04:05Z"
    with pytest.raises(ValueError, match="is no time"):
        parse_since("2x")
    assert format_time(datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=1)))) == "2026-01-01T23:00:00Z"


def test_exit_statuses() -> None:
    def problem(code: str, status: int = 409) -> Problem:
        return Problem(title="T", status=status, code=code)

    assert status_of(JobFailed(problem("already-exists"))) is ExitStatus.FAILED
    assert status_of(JobFailed(problem("no-such-volume", 404))) is ExitStatus.NOT_FOUND
    assert status_of(JobFailed(problem("outcome-unknown"))) is ExitStatus.UNKNOWN
    assert status_of(NotAuthorised(problem("missing-role", 403))) is ExitStatus.NOT_AUTHORISED
    assert status_of(NotFound(problem("no-such-job", 404))) is ExitStatus.NOT_FOUND
    assert status_of(Unavailable(problem("queue-full", 429))) is ExitStatus.UNAVAILABLE
    assert status_of(OutcomeUnknown(problem(""))) is ExitStatus.UNKNOWN
    assert status_of(StillRunning(problem("still-running"))) is ExitStatus.STILL_RUNNING
    for code in ("backend-unavailable", "backend-timeout", "queue-unavailable", "queue-full"):
        assert status_of_code(code, 503) is ExitStatus.UNAVAILABLE
    assert worst([ExitStatus.DONE, ExitStatus.STILL_RUNNING, ExitStatus.NOT_FOUND]) is ExitStatus.NOT_FOUND
    assert worst([ExitStatus.FAILED, ExitStatus.UNKNOWN, ExitStatus.UNAVAILABLE]) is ExitStatus.UNKNOWN
    assert worst([]) is ExitStatus.DONE


def test_concurrent_writes_of_credentials_are_all_stored(tmp_path: Path) -> None:
    begin = Barrier(4)

    def store(profile: int) -> None:
        file = CredentialsFile(tmp_path / "credentials.json")
        begin.wait(10)
        for url in range(10):
            file.store({"profile": f"p{profile}", "url": f"u{url}", "kind": "token"})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(store, range(4)))
    assert len(CredentialsFile(tmp_path / "credentials.json").entries()) == 40


def test_credentials_are_private_and_for_one_service(tmp_path: Path) -> None:
    file = CredentialsFile(tmp_path / "home" / "credentials.json")
    assert file.entries() == []
    for profile, url, kind in [("p", "a", "basic"), ("p", "b", "token"), ("q", "a", "token"), ("p", "a", "token")]:
        file.store({"profile": profile, "url": url, "kind": kind})

    assert file.find("p") == {"profile": "p", "url": "a", "kind": "token"}  # It was stored last.
    assert file.find("p", "b") == {"profile": "p", "url": "b", "kind": "token"}
    assert file.find("q", "b") is None
    assert len(file.entries()) == 3
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in file.path.parent.iterdir()} == {"credentials.json", "credentials.write-lock"}
    assert file.path.with_suffix(".write-lock").stat().st_mode & 0o777 == 0o600
    assert [file.forget("p", "a"), file.forget("p", "a")] == [True, False]
    assert file.find("p", "a") is None
    assert len(json.loads(file.path.read_text())) == 2
    file.path.write_text("{")
    with pytest.raises(ConfigurationError, match="sign in again"):
        file.entries()


def test_a_list_that_is_null_is_empty() -> None:
    assert Problem.of({"code": "x", "errors": None, "backend_error": None}).errors == ()


def test_credentials_that_cannot_be_stored_leave_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = CredentialsFile(tmp_path / "credentials.json")
    file.store({"profile": "p", "url": "a"})
    monkeypatch.setattr(os, "replace", Mock(side_effect=OSError("No space left on device")))
    with pytest.raises(OSError, match="No space"):
        file.store({"profile": "q", "url": "a"})
    assert {path.name for path in tmp_path.iterdir()} == {"credentials.json", "credentials.write-lock"}
    assert file.entries() == [{"profile": "p", "url": "a"}]


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        (" https://s.example/ ", "https://s.example"), ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://s.example/below/", "https://s.example/below"), ("s.example", None), ("ftp://s.example", None),
        ("https://", None), ("https://s.example?x=1", None), ("https://s.example#x", None),
        ("https://user:secret@s.example", None), ("https://s.example:0", None), ("https://s.example:x", None),
    ],
)  # fmt: skip
def test_urls_of_services_are_normalized(url: str, checked: str | None) -> None:
    if checked is None:
        with pytest.raises(ValueError, match="is no address"):
            checked_url(url)
    else:
        assert checked_url(url) == checked


def test_paths_are_resolved_against_the_service() -> None:
    assert resolve("https://s.example", "/v4/jobs") == "https://s.example/v4/jobs"
    assert resolve("https://s.example/below", "/v4/jobs") == "https://s.example/below/v4/jobs"
    assert resolve("https://s.example/below", "/below/v4/jobs") == "https://s.example/below/v4/jobs"
    assert resolve("https://s.example/v", "/v4/jobs") == "https://s.example/v/v4/jobs"
    assert resolve("https://s.example", "https://login.example/token") == "https://login.example/token"
    local = ("http://127.0.0.1:1", "http://[::1]:1", "http://localhost", "http://api.localhost")
    assert [is_loopback(url) for url in local] == [True] * 4
    assert [is_loopback(url) for url in ("http://127.example", "http://10.0.0.1", "http://xlocalhost")] == [False] * 3


def test_a_folder_that_was_deleted_is_in_no_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAPI_DEV_FOLDER", raising=False)
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert find_development_server() is None


def test_a_development_server_is_that_of_ones_own_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = tmp_path / "checkout" / "docs"
    (tmp_path / "checkout" / ".dev").mkdir(parents=True)
    below.mkdir()
    monkeypatch.chdir(below)
    monkeypatch.delenv("SAPI_DEV_FOLDER", raising=False)
    file = tmp_path / "checkout" / ".dev" / "api.url"
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        file.write_text(f"{url}\n")
        assert find_development_server() == url
        # Other users who may write there must not choose the destination of requests.
        with monkeypatch.context() as others:
            others.setattr(os, "getuid", lambda: file.stat().st_uid + 1)
            assert find_development_server() is None
        file.write_text("http://storage.example.org\n")
        with monkeypatch.context() as anywhere:
            anywhere.setattr(development, "_answers", lambda _url: True)
            assert find_development_server() is None
        file.write_text(url)
    assert find_development_server() is None


def test_urls_are_taken_from_option_environment_and_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_settings, "find_development_server", lambda: "http://127.0.0.1:9")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("STORAGE_API_URL", "STORAGE_API_TOKEN", "STORAGE_API_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    assert service_settings.find().url == "http://127.0.0.1:9"
    # Else where one has signed in last, of the profile that is named: by an option first.
    for url in ("https://first", "https://last"):
        CredentialsFile().store({"profile": "test", "url": url, "kind": "basic"})
    monkeypatch.setenv("STORAGE_API_PROFILE", "other")
    assert service_settings.find(profile="test").url == "https://last"
    monkeypatch.setenv("STORAGE_API_PROFILE", "test")
    assert service_settings.find().url == "https://last"
    monkeypatch.delenv("STORAGE_API_PROFILE")
    # With a named profile the local development server is not used.
    with pytest.raises(ConfigurationError, match="Which service"):
        service_settings.find(profile="production")
    (tmp_path / "storage-api" / "config.toml").write_text('[profiles.default]\nurl = "https://of-profile"\n')
    assert service_settings.find().url == "https://of-profile"
    monkeypatch.setenv("STORAGE_API_URL", "https://of-environment")
    assert service_settings.find().url == "https://of-environment"
    # What is stored for another address of the same profile is not sent there.
    CredentialsFile().store({"profile": "default", "url": "https://of-environment", "kind": "basic"})
    for option, is_stored in ((None, True), ("https://of-option/", False)):
        service = service_settings.find(option)
        assert service.url == ("https://of-environment" if is_stored else "https://of-option")
        assert (service.entry is not None, isinstance(service.credentials, StaticCredentials)) == (is_stored, is_stored)
