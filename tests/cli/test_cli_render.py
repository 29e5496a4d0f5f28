"""The only printer: widths, cuts, streams and the characters that must never reach a terminal."""

import os
import pty
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from hitl.policy.escaping import plain
from hitl_cli.arguments import argument_lines, changes, framed
from hitl_cli.lines import Column, Painted, Tint, cut, line, table, tinted, unfolded, word, wrapped
from hitl_cli.render import Output, Screen

HOSTILE = "\x1b[2Kok\x1b]0;pwned\x07\u202eteg\u200b\u2066x\u2069\rConfirm\x9b31m"

COLUMNS = (Column("NAME"), Column("TIER"), Column("AGENT"), Column("WHAT", cut=True))
ROW = ("create-refund-7f3kq9x2ab", "Confirm", "support", "refund 150.00 EUR to customer C-20817, again and again")


def plainly(lines: list[Painted]) -> list[str]:
    return [each.plain for each in lines]


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_no_row_is_wider_than_the_screen(width: int) -> None:
    """Every line of a table fits, at whatever width, and WHAT is what gets cut."""
    lines = plainly(table(COLUMNS, [ROW], width))
    assert all(cell_len(each) <= width for each in lines)
    assert lines[0].endswith("WHAT")
    assert lines[1].endswith("…")


def test_on_a_narrow_screen_the_last_columns_go_first() -> None:
    """NAME and WHAT stay; AGENT goes before TIER."""
    assert plainly(table(COLUMNS, [ROW], 70))[0].split() == ["NAME", "TIER", "WHAT"]
    assert plainly(table(COLUMNS, [ROW], 55))[0].split() == ["NAME", "WHAT"]


def test_columns_stand_three_spaces_apart() -> None:
    """The widest cell of a column is followed by three spaces, and no line ends in spaces."""
    lines = plainly(table(COLUMNS, [ROW, ("a", "MultiFactor", "b", "c")], 100))
    assert lines[0].index("TIER") == len(ROW[0]) + 3
    assert lines[2].startswith("a" + " " * (len(ROW[0]) + 2) + "MultiFactor   b")
    assert not any(each.endswith(" ") for each in lines)


def test_wide_characters_count_as_two_columns() -> None:
    """Chinese text is cut by what a terminal shows, not by how many characters it has."""
    lines = plainly(table(COLUMNS, [("n", "t", "a", "退款" * 60)], 60))
    assert all(cell_len(each) <= 60 for each in lines)
    assert cut("退款退款", 5) == "退款…"


def test_what_is_cut_keeps_its_colour() -> None:
    """A coloured cell that is too wide ends in …, its colours where they were."""
    cell = line("all of ", tinted("this is red", Tint.REFUSED), " and this is not, whatever it may say")
    (_, cut_cell) = table((Column("WHAT", cut=True),), [(cell,)], 24)
    assert cut_cell.plain == "all of this is red and…"
    assert [part for part in cut_cell.parts if part[1] is Tint.REFUSED] == [("this is red", Tint.REFUSED)]
    assert cut_cell.first(9).parts == (("all of ", Tint.NONE), ("th", Tint.REFUSED))


def test_G1_no_printed_line_carries_a_character_that_cannot_be_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """G1: escape sequences, bidi, zero-width and carriage returns come out written, in every shape."""
    screen = Screen(Output.TABLE, width=80)
    screen.data(HOSTILE, line("a", HOSTILE), word(HOSTILE), Painted(((HOSTILE, Tint.REFUSED),)))
    screen.talk(HOSTILE)
    screen.error(HOSTILE)
    screen.table(COLUMNS, [(HOSTILE, HOSTILE, HOSTILE, HOSTILE)])
    screen.data(*wrapped(HOSTILE, 20), *framed("agent says", HOSTILE, 60))
    screen.data(
        *argument_lines('{"a\\u001b[2J": "\\u202eb\\nc"}', 60, full=True), *changes({"a": 1}, {"a": HOSTILE}, 80)
    )
    out, err = capsys.readouterr()
    assert all(plain(each) for each in (out + err).split("\n"))
    assert "\\u001b[2K" in out
    assert "\\u202e" in err


@given(st.text())
def test_G1_whatever_text_comes_only_plain_lines_go(text: str) -> None:
    """G1: for any text at all, wrapped, cut or in a row, what is printed is plain."""
    lines = [
        *wrapped(text, 30),
        *unfolded(text, 30),
        cut(text, 10),
        *plainly(table(COLUMNS, [(text, text, text, text)], 80)),
    ]
    assert all(plain(line(each).plain) for each in lines)


def test_G1_documents_show_hidden_characters_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    """G1: JSON and YAML stay valid and equal, and carry no raw bidi or escape character."""
    import json

    import yaml

    value = {"text": HOSTILE, "fine": "Grüße 退款"}
    Screen(Output.JSON).document(value)
    as_json = capsys.readouterr().out
    Screen(Output.YAML).document(value)
    as_yaml = capsys.readouterr().out
    assert json.loads(as_json) == value == yaml.safe_load(as_yaml)
    assert all(plain(each) for each in (as_json + as_yaml).split("\n"))


def test_documents_keep_letters_readable(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing hidden: umlauts and Chinese stand in JSON as themselves."""
    Screen(Output.JSON).document({"fine": "Grüße 退款"})
    assert '"Grüße 退款"' in capsys.readouterr().out


def test_G1_words_of_an_agent_stand_behind_a_bar_on_every_line() -> None:
    """G1: an agent that writes line breaks, even as ⏎, cannot start a line of ours."""
    lines = [
        each.plain for each in framed("agent says", "fine⏎WHO DECIDES   2 of 2\nWHY", 60) if isinstance(each, Painted)
    ]
    assert len(lines) == 3
    assert lines[0] == "  agent says   │ fine"
    assert lines[1] == "               │ WHO DECIDES   2 of 2"
    assert all(each.index("│") == 15 for each in lines)


def test_G1_a_value_with_line_breaks_cannot_pose_as_another_argument() -> None:
    """G1: continuation lines of a value stand behind │, below the value, never where names stand."""
    lines = [str(each) for each in argument_lines('{"path": "a⏎  amount     1", "amount": 9}', 80, full=True)]
    assert lines == ["  path     │ a", "           │   amount     1", "  amount   9"]


def test_indented_text_keeps_its_indentation() -> None:
    """Code in an argument reads as code: leading spaces stay, long lines break at words."""
    assert unfolded("if x:⏎    return 1", 40) == ["if x:", "    return 1"]
    assert wrapped("one two three", 8) == ["one two", "three"]
    assert wrapped("abcdefghijkl m", 8) == ["abcdefgh", "ijkl m"]


@pytest.mark.parametrize("output", [Output.JSON, Output.YAML, Output.NAME])
def test_for_programs_there_is_no_talk(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    """With -o json, yaml or name stderr stays silent; an error still speaks."""
    screen = Screen(output)
    screen.talk("Next: something")
    assert capsys.readouterr() == ("", "")
    screen.error("error: something")
    assert capsys.readouterr() == ("", "error: something\n")


def on_a_terminal(program: str, **environment: str) -> bytes:
    """What a program writes to a real terminal."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **environment}
    subprocess.run([sys.executable, "-c", program], stdout=theirs, stderr=theirs, env=env, check=True)
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 65536):
            written += part
    except OSError:
        pass  # Linux says EIO where a closed terminal ends
    os.close(ours)
    return written


PROGRAM = """
from hitl_cli.lines import line, word
from hitl_cli.render import Screen
Screen().data(line(word("Confirm"), " ", word("Denied"), " x"))
"""


def test_colour_only_on_a_terminal() -> None:
    """A terminal sees Confirm in yellow and Denied in red; a pipe sees the bare words, whatever FORCE_COLOR says."""
    assert b"\x1b[33mConfirm\x1b[0m \x1b[31mDenied\x1b[0m x" in on_a_terminal(PROGRAM, NO_COLOR="")
    piped = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, env={**os.environ, "FORCE_COLOR": "1"}, check=True
    )
    assert piped.stdout == b"Confirm Denied x\n"


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "a dumb terminal"])
def test_no_color_is_obeyed(environment: dict[str, str]) -> None:
    """With NO_COLOR, or without a way to show colours, a terminal sees no escape sequence either."""
    written = on_a_terminal(PROGRAM, **{"NO_COLOR": "", **environment})
    assert written == b"Confirm Denied x\r\n"


@pytest.mark.parametrize(("columns", "width"), [("80", 80), ("300", 100)])
def test_a_screen_is_at_most_a_hundred_columns_wide(columns: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal's width counts up to 100; -o wide drops and cuts nothing, however narrow it is."""
    monkeypatch.setenv("COLUMNS", columns)
    assert Screen(Output.TABLE).width == width
    assert Screen(Output.WIDE).width > 10_000
