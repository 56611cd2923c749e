"""Output at a real terminal."""

from __future__ import annotations

import pytest

from terminal import Terminal

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_a_bar_shows_how_far_a_job_is_and_leaves_nothing_behind(cli, name):
    terminal = Terminal(cli, "volume", "create", "slow", name)
    terminal.wait_for("create volume")
    assert terminal.ended() == 0
    # The cursor is hidden meanwhile.
    assert [terminal.raw.count(f"\x1b[?25{code}") for code in "lh"] == [1, 1]
    assert terminal.text.rstrip().splitlines()[-1].split()[0] == name


@pytest.mark.parametrize("columns", [60, 200])
def test_a_table_fits_the_terminal(cli, columns):
    terminal = Terminal(cli, "volume", "list", "dummy", "--limit", "5", columns=columns)
    assert terminal.ended() == 0
    lines = terminal.text.rstrip("\n").splitlines()
    assert len(lines) >= 6
    assert max(len(line.rstrip()) for line in lines) <= columns


def test_colours_can_be_switched_off(cli):
    coloured = Terminal(cli, "volume", "list", "dummy", "--limit", "1")
    plain = Terminal(cli, "volume", "list", "dummy", "--limit", "1", environment={"NO_COLOR": "1"})
    assert (coloured.ended(), plain.ended()) == (0, 0)
    assert "\x1b[1m" in coloured.raw
    assert "\x1b[3" not in plain.raw


@pytest.fixture
def rolled(cli, volume):
    for snapshot in ("first", "second", "third"):
        assert cli("snapshot", "create", "dummy", volume, snapshot).status == 0
    return volume


def test_a_roll_back_lists_later_snapshots_and_can_be_declined(cli, rolled):
    terminal = Terminal(cli, "volume", "rollback", "dummy", rolled, "--to", "first", columns=200)
    terminal.wait_for("[y/N]")
    assert "2 later snapshots go: second, third." in terminal.text
    terminal.type("n\n")
    assert terminal.ended() == 1
    assert "Nothing was changed." in terminal.text
    assert cli("snapshot", "list", "dummy", rolled, "-o", "name").out.split() == ["first", "second", "third"]


def test_a_roll_back_can_be_confirmed(cli, rolled):
    terminal = Terminal(cli, "volume", "rollback", "dummy", rolled, "--to", "second", columns=200)
    terminal.wait_for("[y/N]")
    terminal.type("y\n")
    assert terminal.ended() == 0
    assert cli("snapshot", "list", "dummy", rolled, "-o", "name").out.split() == ["first", "second"]


def test_without_a_terminal_no_question_is_asked(cli, rolled):
    refused = cli("volume", "rollback", "dummy", rolled, "--to", "first")
    assert (refused.status, "--yes" in refused.err) == (2, True)


def test_ctrl_c_at_a_question_changes_nothing(cli, volume):
    terminal = Terminal(cli, "volume", "restrict", "dummy", volume)
    terminal.wait_for("[y/N]")
    terminal.interrupt()
    assert terminal.ended() == 130
    assert cli("volume", "show", "dummy", volume).status == 0


def test_ctrl_c_while_waiting_cancels_nothing_and_says_how_to_go_on(cli, name):
    terminal = Terminal(cli, "volume", "create", "slow", name, columns=200)
    terminal.wait_for("create volume")
    terminal.interrupt()
    assert terminal.ended() == 130
    command = terminal.text.rstrip().rpartition("storage-api ")[2].split()[:3]
    assert command[:2] == ["job", "wait"]
    assert cli(*command).status == 0


def test_a_password_is_prompted_for_and_not_echoed(cli, stack):
    from tests.e2e.own_stack import PASSWORD, USER

    cli.environment = {"STORAGE_API_URL": stack.url}
    terminal = Terminal(cli, "login", "--basic", USER)
    terminal.wait_for("Password:")
    terminal.type(f"{PASSWORD}\n")
    assert terminal.ended() == 0
    assert PASSWORD not in terminal.raw


def test_watching_shows_every_job_until_the_end(cli, name):
    first = cli("volume", "create", "slow", name, "--no-wait").out.strip()
    second = cli("volume", "update", "slow", name, "--size", "2GiB", "--no-wait").out.strip()
    terminal = Terminal(cli, "job", "watch", first, second, columns=200)
    assert terminal.ended() == 0
    assert "update volume" in terminal.text
    assert terminal.text.count("succeeded") >= 2
