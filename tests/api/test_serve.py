"""What the server's command line arranges before it starts."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from resource import RLIM_INFINITY, RLIMIT_NOFILE
from unittest.mock import Mock

import pytest

from api import serve


@pytest.mark.parametrize(
    ("allowed", "most", "limit"),
    [
        (1024, RLIM_INFINITY, 16_384),
        (1024, 524_288, 16_384),
        (1024, 4096, 4096),
        (20_000, 524_288, None),
        (RLIM_INFINITY, RLIM_INFINITY, None),
    ],
)
def test_the_limit_of_open_files_is_raised(monkeypatch, allowed, most, limit):
    set_limit = Mock()
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (allowed, most))
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    serve._allow_many_files()
    assert [call.args for call in set_limit.call_args_list] == ([(RLIMIT_NOFILE, (limit, most))] if limit else [])


def test_the_interpreter_is_configured_for_many_threads():
    environment = {
        "PATH": os.environ["PATH"], "SAPI_BACKENDS": "dummy🌈DummyStorage", "SAPI_SECRET_KEY": "0" * 64,
        "SAPI_REDIS_URL": "redis://127.0.0.1:1/0", "PYTHONUTF8": "1",
    }  # fmt: skip
    code = (
        "from api.http import stalled_clients; stalled_clients.cut_off_stalled_clients = print; "
        "import api.wsgi, gc, sys; print(sys.getswitchinterval(), gc.get_freeze_count() > 1000)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    # A connection is cut off later than the longest wait, which is SAPI_V3_WAIT, has ended.
    assert done.stdout == "65\n0.001 True\n", done.stderr
