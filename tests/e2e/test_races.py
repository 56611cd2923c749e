"""Section 3 of the contract: thousands of reads and changes race, and every response matches the model."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.e2e.own_stack import LIST, QUICK, OwnStack, own_stack
from tests.e2e.race import Model
from tests.e2e.race_reader import Reader, Workload
from tests.e2e.race_writer import SNAPSHOT_LIMIT, Writer

#: How many responses are checked (twice as many in profile `ci`), and the seed.
ANSWERS = int(os.environ.get("SAPI_TEST_RACES") or (3000 if settings().max_examples > 100 else 1500))
SEED = os.environ.get("SAPI_TEST_RACES_SEED", "1")
WRITERS, READERS = 5, 6
#: When the races count as stuck (seconds): some ten times as long as they take.
_STUCK_S = 60 + ANSWERS / 10
FILER = "filer"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    """A service whose filer takes 0.2 s to list, and whose copies are stale after a second."""
    options = {"volumes": 12, "list_latency_s": 0.2, "latency_s": 0.02, "snapshot_limit": SNAPSHOT_LIMIT}
    with own_stack(tmp_path_factory.mktemp("races"), {FILER: options}, QUICK, LIST, cache_fresh=1) as running:
        yield running


def _clients(stack: OwnStack, model: Model) -> tuple[list[Writer], list[Reader]]:
    def reader(name: str) -> Reader:
        return Reader(stack.client(), model, random.Random(f"{SEED} {name}"), FILER)

    writers = [
        Writer(f"w{n}", stack.client(), reader(f"of w{n}"), model, random.Random(f"{SEED} w{n}"), FILER)
        for n in range(WRITERS)
    ]
    return writers, [reader(f"r{n}") for n in range(READERS)]


@pytest.mark.slow
@pytest.mark.timeout(_STUCK_S + 60)
def test_every_response_matches_the_model(stack: OwnStack, capsys: pytest.CaptureFixture[str]) -> None:
    model, http = Model(), stack.client()
    for collection in (f"{FILER}/volumes", f"{FILER}/export"):
        model.begin(collection, http.get(f"/v4/{collection}", headers={"Prefer": "wait=25"}).json())
    writers, readers = _clients(stack, model)
    workload = Workload(model)

    def read(reader: Reader) -> None:
        reader.read_any()
        if len(model.answers) >= ANSWERS:
            workload.request_stop()

    for writer in writers:
        workload.add(writer.change)
    for reader in readers:
        workload.add(lambda reader=reader: read(reader))  # type: ignore[misc]
    workload.wait(_STUCK_S)
    workload.end()
    wrong = model.disagreements()
    with capsys.disabled():
        print(f"\nseed {SEED}: {len(model.answers)} answers judged, {len(wrong)} wrong; {dict(model.kinds)}")  # noqa: T201
    assert not wrong, f"{len(wrong)} answers are wrong; the first of them:\n" + "\n".join(wrong[:8])
    assert len(model.answers) >= ANSWERS, "the races are stuck"
