"""Drivers are found by class name, and their libraries are loaded late."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from storage_backends.base import StorageBackend
from storage_backends.configuration.options import OPTIONS, OptionValue
from storage_backends.configuration.secret import Secret
from storage_backends.configuration.subsystems import Subsystem
from storage_backends.dummy import DummyStorage
from storage_backends.login_guard import LoginGuard
from storage_backends.netapp import NetappStorage
from storage_backends.registry import DRIVERS, open_backend
from tests.storage_backends import conformance


def test_a_subsystem_is_opened_with_its_options_and_name(tmp_path: Path) -> None:
    backend = open_backend(Subsystem("d", "DummyStorage", {"volumes": 3, "state_dir": str(tmp_path)}))

    assert isinstance(backend, DummyStorage)
    backend.check()
    backend.close()
    assert (tmp_path / "d.sqlite3").exists()


def test_state_goes_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPI_STATE_DIR", str(tmp_path))
    backend = open_backend(Subsystem("d", "DummyStorage"))
    backend.check()
    backend.close()
    assert (tmp_path / "d.sqlite3").exists()


def test_filers_share_one_login_guard() -> None:
    guard = LoginGuard()
    options: dict[str, OptionValue] = {"username": "u", "password": Secret("p"), "vserver": "v"}
    filers = [open_backend(Subsystem(name, "NetappStorage", options), guard) for name in ("one", "two")]
    assert all(isinstance(filer, NetappStorage) and filer._client._login_guard is guard for filer in filers)


def test_every_driver_declares_its_options() -> None:
    assert DRIVERS.keys() == OPTIONS.keys()


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_driver_is_a_back_end(driver: str) -> None:
    module, _, name = DRIVERS[driver].partition(":")
    backend_class = getattr(import_module(module), name)

    assert issubclass(backend_class, StorageBackend)
    assert not backend_class.__abstractmethods__


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_driver_runs_the_whole_conformance_suite(driver: str) -> None:
    package = DRIVERS[driver].split(".")[1].partition(":")[0]
    files = [file for file in Path(__file__).parent.rglob("test_*.py") if f"test_{package}" in file.name]
    bases = {base for file in files for base in re.findall(r"\b\w+Conformance(?=\):)", file.read_text("utf-8"))}
    assert bases == {name for name in conformance.__all__ if name.endswith("Conformance") and name != "Conformance"}


def test_checking_the_configuration_loads_no_driver() -> None:
    check = (
        "import storage_backends.configuration.subsystems, storage_backends.registry, sys;"
        "sys.exit(any(name.startswith(('netapp_ontap', 'storage_backends.dummy', 'storage_backends.netapp'))"
        " for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
