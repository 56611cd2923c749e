"""The journal of a call that nobody watches, which other tests lean on."""

from __future__ import annotations

from storage_backends.journal import InMemoryJournal


def test_each_is_a_job_of_its_own() -> None:
    assert InMemoryJournal().job_id != InMemoryJournal().job_id


def test_a_new_step_clears_the_last_one_s_job_but_no_fact() -> None:
    journal = InMemoryJournal("job")
    journal.record_intent("first", volume="home")
    journal.backend_job("1234")
    assert journal.trace().backend_job == "1234"

    journal.record_intent("second", snapshot="before")

    trace = journal.trace(age_s=5.0)
    assert (trace.job_id, trace.step, trace.backend_job, trace.age_s) == ("job", "second", None, 5.0)
    assert trace.facts == {"volume": "home", "snapshot": "before"}
