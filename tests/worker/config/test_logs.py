"""Each event is one line of JSON, whichever library logs it, and whatever its text."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest


def logged(program: str, level: str = "INFO") -> list[dict[str, Any]]:
    """The output of a process with this configuration."""
    begin = f"from worker.config.logs import configure_logging; configure_logging('worker', {level!r})\n"
    begin += "import logging, structlog; log = structlog.get_logger('worker.execution.tasks')\n"
    done = subprocess.run([sys.executable, "-c", begin + program], capture_output=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.parametrize(
    "say",
    ["log.info('said', job_id='ü')", "logging.getLogger('worker.execution.tasks').info('said')"],
    ids=["ours", "others"],
)
def test_a_line_has_process_time_and_logger(say):
    (line,) = logged(say)
    assert (line["event"], line["level"], line["logger"], line["process"]) == (
        "said",
        "info",
        "worker.execution.tasks",
        "worker",
    )
    assert line["timestamp"].endswith("Z")


def test_a_line_names_its_job():
    (line,) = logged("with structlog.contextvars.bound_contextvars(job_id='1'): log.info('said', n=2)")
    assert (line["job_id"], line["n"]) == ("1", 2)


def test_an_exception_is_in_its_line():
    program = "try: 1 / 0\nexcept ZeroDivisionError: {}.exception('failed')"
    ours, others = (logged(program.format(whose)) for whose in ("log", "logging.getLogger()"))
    assert len(ours) == len(others) == 1
    assert all("ZeroDivisionError: division by zero" in line["exception"] for line in (*ours, *others))


def test_values_that_json_cannot_represent_are_logged_as_text():
    odd, line = logged("log.info('odd', text='\\udc80', number=2**70, thing={1: object})\nlog.info('next')")
    assert (odd["text"], odd["number"], odd["thing"]) == ("\udc80", 2**70, {"1": "<class 'object'>"})
    assert line["event"] == "next"


def test_a_newline_in_a_message_is_escaped():
    (line,) = logged("log.info('one\\ntwo')")
    assert line["event"] == "one\ntwo"


def test_less_severe_messages_are_not_logged():
    lines = logged("log.info('no'); logging.getLogger('x').info('no'); log.warning('yes')", "WARNING")
    assert [line["event"] for line in lines] == ["yes"]


@pytest.mark.parametrize(("level", "said"), [("INFO", ["WARNING", "ERROR"]), ("ERROR", ["ERROR"])])
def test_celery_s_lines_for_each_message_are_left_out(level: str, said: list[str]):
    program = (
        "for name in ('celery.worker.strategy', 'celery.app.trace', 'celery.worker'):\n"
        "    for severity in ('INFO', 'WARNING', 'ERROR'):\n"
        "        logging.getLogger(name).log(getattr(logging, severity), severity)"
    )
    lines = logged(program, level)
    for name in ("celery.worker.strategy", "celery.app.trace"):
        assert [line["event"] for line in lines if line["logger"] == name] == said
    others = [line["event"] for line in lines if line["logger"] == "celery.worker"]
    assert others == (["INFO", *said] if level == "INFO" else said)


def test_a_warning_of_a_library_is_a_line_as_well():
    (line,) = logged("import warnings; warnings.warn('it changes', stacklevel=1)")
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")
    assert "UserWarning: it changes" in line["event"]
