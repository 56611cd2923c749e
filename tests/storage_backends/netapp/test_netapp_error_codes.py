"""The meaning of each of ONTAP's codes, beside NetApp's own text: ``error_codes.txt`` is to be read and compared."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

from storage_backends.netapp.ontap.error_codes import MEANINGS, Translator
from storage_backends.netapp.ontap.responses import OntapError

_LINES = Path(__file__).with_name("error_codes.txt").read_text().splitlines()[1:]


def _line(code: int, published: str) -> str:
    error = Translator(()).error(OntapError(code, "As the filer says."))
    assert error.backend_error is not None
    assert (error.backend_error.code, error.backend_error.message) == (str(code), "As the filer says.")
    # Whether the service may retry and whether the user may: for these codes it is the same.
    assert error.transient == error.retryable
    retried = ["(retried)"] if error.transient else []
    problem = " ".join([error.code, *(field.pointer for field in error.errors), *retried])
    assert {field.detail for field in error.errors} <= {error.detail}
    return " | ".join((str(code), problem, error.detail, published))


def test_codes_have_the_meaning_documented_by_netapp() -> None:
    published = {int(line.split(" | ")[0]): line.split(" | ", 3)[3] for line in _LINES}
    assert [_line(code, published.get(code, "?")) for code in sorted(MEANINGS)] == _LINES


def test_texts_of_codes_are_those_of_netapp() -> None:
    beside = Path(__file__).parents[4] / "shared"
    path = Path(os.environ.get("SAPI_TEST_SHARED", beside)) / "ontap" / "error-codes-9.19.1.json"
    if not path.exists():
        pytest.skip("the published codes are not at hand")
    texts: dict[str, set[str]] = defaultdict(set)
    for operation in json.loads(path.read_text()).values():
        for code, text in operation["errors"].items():
            texts[code].add(text.replace("\\", "").partition("<")[0])
    recorded = {line.split(" | ")[0]: line.split(" | ", 3)[3] for line in _LINES}
    assert [code for code, text in recorded.items() if text not in (texts.get(code) or {"-"})] == []
