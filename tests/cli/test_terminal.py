"""Text of others on a terminal: no control character, no link and no traceback, from any command."""

from __future__ import annotations

import io
import shutil

import pytest
from command_line import run
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from robolearn.cli.terminal import Terminal
from robolearn.config import config_dir
from robolearn.files.printable import UNPRINTABLE, printable, spreadsheet_cell
from robolearn.robots import load_robot

EVIL = "\x1b[2J\x1b]0;owned\x07 \x9b31m \u202eevil\u2066 \u2028 a\rb \x00 \U000e0041 \ufeff"


def printed(what, **options) -> str:
    out = io.StringIO()
    Terminal(file=out, width=200, **options).print(what)
    return out.getvalue()


@pytest.mark.parametrize("make", [str, Text, lambda text: Text(text, style="red")])
def test_no_control_character_reaches_a_terminal(make):
    plain = printed(make(EVIL))
    assert not UNPRINTABLE.search(plain)
    for shown in (r"\u001b[2J", r"\u009b31m", r"\u202eevil", r"\u2028", r"\u0000"):
        assert shown in plain
    coloured = printed(make(EVIL), force_terminal=True, color_system="standard")
    assert "\x1b[2J" not in coloured
    assert "\x1b]0;" not in coloured
    assert "\x07" not in coloured


def test_nor_from_a_table():
    table = Table(title=EVIL)
    table.add_column(EVIL)
    table.add_row(EVIL)
    table.add_row("[link=file:///etc/passwd]x[/link]")
    assert not UNPRINTABLE.search(printed(table))
    linked = printed(table, force_terminal=True)
    assert "\x1b]8;" not in linked
    assert "passwd" not in linked


@pytest.mark.parametrize("text", ["[/x]", "a [/bold] b", "[bold", "[[/]]"])
def test_markup_that_is_none_is_text(text):
    table = Table()
    table.add_row(text)
    assert printed(text)
    assert printed(table)


def test_styles_of_our_own_still_work():
    assert "\x1b[1m" in printed("[bold]x[/]", force_terminal=True, color_system="standard")


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_printable_text_has_nothing_unprintable_and_plain_text_stays(text):
    assert not UNPRINTABLE.search(printable(text))
    if not UNPRINTABLE.search(text):
        assert printable(text) == text


@pytest.mark.parametrize(
    "text", ["=cmd|'/c calc'!A1", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1"]
)
def test_a_formula_is_no_cell(text):
    cell = spreadsheet_cell(text)
    assert cell.startswith("'")
    assert not UNPRINTABLE.search(cell)


@pytest.mark.parametrize("value", [5, -5, 1.5, -1.5, None, "text", "2026-01-01", '{"a": 1}', ""])
def test_numbers_and_plain_text_are_cells_as_they_are(value):
    assert spreadsheet_cell(value) == value


def test_a_value_of_another_kind_is_text_in_a_cell():
    assert spreadsheet_cell([1, "\x1b"]) == r"[1, '\x1b']"


def test_an_error_that_quotes_a_file_shows_its_control_characters(capsys, tmp_path):
    path = tmp_path / "cell.yaml"
    path.write_text(
        (config_dir() / "safety" / "fr3.yaml").read_text().replace("value: 0.6", 'value: "\x9b2J"')
    )
    status, out, err = run(capsys, "safety", "limits", "fr3", "--profile", path)
    assert status == 2
    assert not UNPRINTABLE.search(out + err)


def test_a_robot_whose_label_is_broken_markup_is_shown(capsys, tmp_path):
    path = tmp_path / "fr3.yaml"
    shutil.copy(load_robot("fr3").path, path)
    path.write_text(
        path.read_text().replace("label: Franka Research 3", 'label: "[/x] [link=file:///x]y[/link]"')
    )
    status, out, _ = run(capsys, "robots", "show", path)
    assert status == 0
    assert "[/x]" in out


def test_a_terminal_that_is_not_utf_8_shows_what_it_can():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Terminal(file=stream, width=80).print("rad/s\u00b2 \u2014 Z\u00fcrich")
    stream.flush()
    assert stream.buffer.getvalue() == b"rad/s? ? Z?rich\n"
