"""The server's entry point, `api.wsgi:app`: the application configured from the environment, or one line of error."""

from __future__ import annotations

import sys

from flask import Flask

from api.app import LONGEST_REQUEST_S, create_app
from api.auth import AuthSettings
from api.events import end_streams
from api.http import request_log
from api.http.admin_server import start_admin_server
from api.http.buffered_lines import BufferedLines
from api.http.shutdown import on_termination
from api.http.stalled_clients import cut_off_stalled_clients
from api.services import Services
from storage_backends.configuration.subsystems import ConfigurationError
from worker.config.logs import configure_logging
from worker.config.python_interpreter import configure_interpreter
from worker.config.settings import BadSettings, load
from worker.store.startup_checks import check_address
from worker.telemetry import tracing

#: How much longer than its wait for a job a request may take, including its body (seconds).
_MARGIN_S = 10


def _create() -> Flask:
    try:
        services = Services.from_environment()
        check_address(services.redis)
        _configure_logging(services.settings.log_level)
        tracing.configure("storage-api")
        created = create_app(services, load(AuthSettings))
        tracing.instrument_flask(created)
        _serve_administrators(services, created)
        cut_off_stalled_clients(created.config[LONGEST_REQUEST_S] + _MARGIN_S)
    except (BadSettings, ConfigurationError) as error:
        print(f"storage-api cannot start: {error}", file=sys.stderr)  # noqa: T201 - for whoever starts it
        raise SystemExit(2) from None
    configure_interpreter()
    on_termination(lambda: _answer_what_is_open(services, created))
    return created


def _configure_logging(level: str) -> None:
    """Have lines of log written at once, but for those of requests, of which there are thousands a second."""
    configure_logging("api", level, {request_log.__name__: BufferedLines(sys.stderr.buffer)})


def _serve_administrators(services: Services, created: Flask) -> None:
    config = services.config
    if not config.admin_port:
        return
    try:
        start_admin_server(created.wsgi_app, config.admin_address, config.admin_port)
    except OSError as error:
        where = f"{config.admin_address}:{config.admin_port}"
        raise BadSettings(f"SAPI_ADMIN_PORT: cannot listen on {where}: {error.strerror}") from None


def _answer_what_is_open(services: Services, created: Flask) -> None:
    """Answer held requests and end streams, for which the server would wait otherwise."""
    services.stop()
    end_streams(created)


app = _create()
