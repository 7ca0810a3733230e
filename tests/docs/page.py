"""The commands of a page, and the output that the page shows.

A fence of `console` shows a terminal: lines that begin with `$ ` are commands, lines that begin with `> ` continue one,
all others are output. A fence of `sh` has only commands, one of `sql` is for `psql`. In the output, `…` matches
anything within a line, and alone on a line any number of lines.

A comment in the line before the fence sets how the block is run:

    <!-- run: in NAME -->           in the terminal of that name; its last command keeps running
    <!-- run: each -->              each line in a separate terminal, where it keeps running
    <!-- run: exit 2 -->            its exit status is that instead of 0
    <!-- not run: because … -->     not run, with the reason
    <!-- file: NAME -->             before a fence of any kind: its text is saved under that name

Comments anywhere in the page set what it takes for granted:

    <!-- continues: other.md -->    the blocks of that page are run first
    <!-- given: … -->               commands that prepare it
    <!-- given in NAME: … -->       the same, in the terminal of that name; the last one keeps running

A command that keeps running must print the output that the page shows or, if it shows none, anything.
"""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "Command", "Page", "pattern_of", "read_page", "without_blocks"]

_BLOCK = re.compile(
    r"^<!-- given(?: in (?P<given_in>[a-z]+))?:\s(?P<given>.*?)-->$"
    r"|^<!-- file: (?P<file>[\w.-]+) -->\n```\w*\n(?P<content>.*?)^```$"
    r"|^(?:<!-- (?P<verb>run|not run): (?P<option>.*?) -->\n)?```(?P<kind>console|sh|sql)\n(?P<text>.*?)^```$",
    re.M | re.S,
)
_CONTINUES = re.compile(r"^<!-- continues: (\S+) -->$", re.M)
_OPTION = re.compile(r"|in (?P<terminal>[a-z]+)|(?P<each>each)|exit (?P<status>\d+)")


@dataclass(frozen=True, slots=True)
class Command:
    """One command and its output, where the page shows it. An empty `text` is more output of the command before."""

    text: str
    printed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A block. `terminal` is None for the page's main one; with `is_each` every command has a separate one; `reason`
    is why it is not run.
    """

    line: int
    commands: tuple[Command, ...]
    terminal: str | None = None
    is_each: bool = False
    status: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    path: Path
    blocks: tuple[Block, ...]
    continues: Path | None


def read_page(path: Path) -> Page:
    """Parse a page; raises `ValueError` for an unknown comment and for a reason shorter than three words."""
    text = path.read_text(encoding="utf-8")
    before = _CONTINUES.search(text)
    return Page(
        path,
        tuple(_block(path, text, found) for found in _BLOCK.finditer(text)),
        (path.parent / before[1]).resolve() if before else None,
    )


def without_blocks(text: str) -> str:
    """The page without its blocks."""
    return _BLOCK.sub("", text)


def _block(path: Path, text: str, found: re.Match[str]) -> Block:
    line = text.count("\n", 0, found.start()) + 1
    if found["file"]:
        return Block(line, (Command(_heredoc(f"cat > {found['file']}", found["content"]), ()),))
    if found["given"]:
        return Block(line, (Command(found["given"], ()),), found["given_in"])
    commands = _commands(found["kind"], found["text"])
    if found["verb"] == "not run":
        if len(found["option"].split()) < 3:
            raise ValueError(f"{path}:{line}: give the reason why it is not run")
        return Block(line, commands, reason=found["option"])
    option = _OPTION.fullmatch(found["option"] or "")
    if option is None:
        raise ValueError(f"{path}:{line}: unknown option {found['option']!r}")
    if option["each"]:
        commands = tuple(Command(each, ()) for each in found["text"].splitlines())
    return Block(line, commands, option["terminal"], option["each"] is not None, int(option["status"] or 0))


def _commands(kind: str, text: str) -> tuple[Command, ...]:
    if kind == "console":
        return _shown(text)
    if kind == "sql":
        text = _heredoc('psql -v ON_ERROR_STOP=1 "$FLAGENT_CDC_DATABASE_URL"', text)
    return (Command(text, ()),)


def _heredoc(command: str, text: str) -> str:
    return f"{command} <<'END OF BLOCK'\n{text}END OF BLOCK"


def _shown(text: str) -> tuple[Command, ...]:
    commands: list[tuple[list[str], list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append(([line[2:]], []))
        elif line.startswith("> ") and commands and not commands[-1][1]:
            commands[-1][0].append(line[2:])
        else:
            if not commands:
                commands.append(([], []))
            commands[-1][1].append(line)
    return tuple(Command("\n".join(lines), tuple(printed)) for lines, printed in commands)


def pattern_of(printed: tuple[str, ...]) -> re.Pattern[str]:
    """Matches the shown output, without the end of its last line."""
    parts = [r"(?:.*\n)*?.*" if line == "…" else r"[^\n]*?".join(map(re.escape, line.split("…"))) for line in printed]
    return re.compile(r"\n".join(parts))
