"""Lines that stay at the top of a terminal."""

import io
import os

import pytest

from cdc.cli.fixed_head import FixedHead


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((40, 20)))


@pytest.mark.usefixtures("size")
def test_output_scrolls_below_the_head_until_it_is_released() -> None:
    terminal = Terminal()
    head = FixedHead(terminal)
    head.show(["ready", "x" * 41])
    # One row, and two for the line that is wider than the terminal: the region begins in row 4.
    assert terminal.getvalue() == f"\x1b[2J\x1b[Hready\n{'x' * 41}\n\x1b[4;20r\x1b[4;1H"
    terminal.truncate(0)
    terminal.seek(0)
    head.release()
    head.release()
    assert terminal.getvalue() == "\x1b[r\x1b[20;1H\n"


@pytest.mark.usefixtures("size")
def test_a_low_terminal_and_a_pipe_get_plain_lines() -> None:
    for stream, lines in ((Terminal(), ["line"] * 15), (io.StringIO(), ["line"])):
        head = FixedHead(stream)
        head.show(lines)
        head.release()
        assert stream.getvalue() == "line\n" * len(lines)
