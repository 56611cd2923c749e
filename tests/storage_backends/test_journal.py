"""The in-memory journal, which other tests use."""

from __future__ import annotations

from storage_backends.journal import InMemoryJournal


def test_each_journal_has_its_own_job_id() -> None:
    assert InMemoryJournal().job_id != InMemoryJournal().job_id


def test_a_new_step_clears_the_last_one_s_job_but_no_fact() -> None:
    journal = InMemoryJournal("job")
    journal.record_intent("first", volume="home")
    journal.backend_job("1234")
    assert journal.state().backend_job == "1234"

    journal.record_intent("second", snapshot="before")

    state = journal.state(age_s=5.0)
    assert (state.job_id, state.step, state.backend_job, state.age_s) == ("job", "second", None, 5.0)
    assert state.facts == {"volume": "home", "snapshot": "before"}
