"""Lines that stay at the top of a terminal while later output scrolls below them.

Terminals have a scrolling region (DECSTBM, `CSI top ; bottom r`), in which all output after it scrolls, that of other
programs on the same terminal too. In a pipe, and in a terminal that is too low, the lines are printed like any others.
"""

import shutil
from collections.abc import Sequence
from typing import TextIO

__all__ = ["FixedHead"]

# Rows that must remain for what scrolls.
_FEWEST_ROWS = 6


class FixedHead:
    """`show` prints the head once; `release` gives the whole terminal back and must follow it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rows = 0

    def show(self, lines: Sequence[str]) -> None:
        size = shutil.get_terminal_size()
        # A line that is wider than the terminal takes several rows.
        rows = sum(max(1, -(-len(line) // size.columns)) for line in lines)
        text = "\n".join(lines) + "\n"
        if self._stream.isatty() and rows + _FEWEST_ROWS <= size.lines:
            self._rows = size.lines
            # Erase, go home, print; setting the region moves the cursor, so it is put below the head again.
            text = f"\x1b[2J\x1b[H{text}\x1b[{rows + 1};{size.lines}r\x1b[{rows + 1};1H"
        self._stream.write(text)
        self._stream.flush()

    def release(self) -> None:
        """Scroll the whole terminal again; does nothing if the head was not fixed, or is released already."""
        if self._rows:
            self._stream.write(f"\x1b[r\x1b[{self._rows};1H\n")
            self._stream.flush()
            self._rows = 0
