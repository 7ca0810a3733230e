"""The commands of a page, and what the page says they print.

A fence of `console` shows a terminal: lines that begin with `$ ` are commands, lines that begin with `> ` continue one,
all others are what is printed. A fence of `sh` is commands alone, one of `sql` is for `psql`. In what is printed, `…`
stands for anything within a line, and alone on a line for any number of lines.

A comment in the line before the fence says how to take it:

    <!-- run: in NAME -->           in a terminal of that name, where the last command stays running
    <!-- run: each -->              each line in a terminal of its own, where it stays running
    <!-- run: exit 2 -->            it ends with that status instead of 0
    <!-- not run: because … -->     left out, for a reason
    <!-- file: NAME -->             before a fence of any kind: the reader saves it under that name

And anywhere, what a reader brings along:

    <!-- continues: other.md -->    what that page does has been done before
    <!-- given: … -->               commands that make what the page takes for granted
    <!-- given in NAME: … -->       the same, in a terminal of that name, where the last one stays running

Who stays running must show what the page shows, or if that is nothing, something.
"""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "Command", "Page", "pattern_of", "read_page", "without_blocks"]

_BLOCK = re.compile(
    r"^<!-- given(?: in (?P<given_in>[a-z]+))?:\s(?P<given>.*?)-->$"
    r"|^<!-- file: (?P<file>[\w.-]+) -->\n```\w*\n(?P<content>.*?)^```$"
    r"|^(?:<!-- (?P<verb>run|not run): (?P<said>.*?) -->\n)?```(?P<kind>console|sh|sql)\n(?P<text>.*?)^```$",
    re.M | re.S,
)
_CONTINUES = re.compile(r"^<!-- continues: (\S+) -->$", re.M)
_SAID = re.compile(r"|in (?P<terminal>[a-z]+)|(?P<each>each)|exit (?P<status>\d+)")


@dataclass(frozen=True, slots=True)
class Command:
    """One command and what it prints; no printed lines are no claim. An empty `text` is more output of the last one."""

    text: str
    printed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A fence. `terminal` is None for the page's main one; with `is_each` every command has one of its own; `reason`
    says why it is not run.
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
    """Raises `ValueError` for a comment that says nothing known, and for a reason that is none."""
    text = path.read_text(encoding="utf-8")
    before = _CONTINUES.search(text)
    return Page(
        path,
        tuple(_block(path, text, found) for found in _BLOCK.finditer(text)),
        (path.parent / before[1]).resolve() if before else None,
    )


def without_blocks(text: str) -> str:
    """What remains of a page when all is taken out that is read as commands."""
    return _BLOCK.sub("", text)


def _block(path: Path, text: str, found: re.Match[str]) -> Block:
    line = text.count("\n", 0, found.start()) + 1
    if found["file"]:
        return Block(line, (Command(_heredoc(f"cat > {found['file']}", found["content"]), ()),))
    if found["given"]:
        return Block(line, (Command(found["given"], ()),), found["given_in"])
    commands = _commands(found["kind"], found["text"])
    if found["verb"] == "not run":
        if len(found["said"].split()) < 3:
            raise ValueError(f"{path}:{line}: say why it is not run")
        return Block(line, commands, reason=found["said"])
    said = _SAID.fullmatch(found["said"] or "")
    if said is None:
        raise ValueError(f"{path}:{line}: what is {found['said']!r}?")
    if said["each"]:
        commands = tuple(Command(each, ()) for each in found["text"].splitlines())
    return Block(line, commands, said["terminal"], said["each"] is not None, int(said["status"] or 0))


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
    """Matches what the page shows, without the end of its last line."""
    parts = [r"(?:.*\n)*?.*" if line == "…" else r"[^\n]*?".join(map(re.escape, line.split("…"))) for line in printed]
    return re.compile(r"\n".join(parts))
