"""Parsing a page, and running one with right and with wrong output."""

import re
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.docs.page import Block, Command, read_page
from tests.docs.terminal import Terminal
from tests.docs.test_commands import PageRunner


def page_with(directory: Path, text: str) -> Path:
    path = directory / "page.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_page_is_parsed_into_its_blocks(tmp_path: Path) -> None:
    block, several, left_out, script, file, given, statement = read_page(
        page_with(
            tmp_path,
            """# Page

```console
$ echo one \\
>   two
one two
$ true
```

<!-- run: in server -->
```console
listening
```

<!-- not run: it needs a cloud -->
```sh
deploy
```

<!-- run: exit 3 -->
```sh
# two lines
exit 3
```

<!-- file: follow.py -->
```python
print(1)
```

<!-- given in other:
sleep 60
-->

```sql
select 1;
```

```json
{}
```
""",
        )
    ).blocks
    assert block == Block(3, (Command("echo one \\\n  two", ("one two",)), Command("true", ())))
    assert several == Block(10, (Command("", ("listening",)),), terminal="server")
    assert left_out.reason == "it needs a cloud"
    assert script == Block(20, (Command("# two lines\nexit 3\n", ()),), status=3)
    assert file.commands[0].text == "cat > follow.py <<'END OF BLOCK'\nprint(1)\nEND OF BLOCK"
    assert given == Block(31, (Command("sleep 60\n", ()),), terminal="other")
    assert statement.commands[0].text.splitlines()[1] == "select 1;"


@pytest.mark.parametrize(
    ("comment", "message"),
    [("not run: sorry", "give the reason why it is not run"), ("run: now and then", "unknown option 'now and then'")],
)
def test_an_unknown_comment_is_rejected(comment: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_page(page_with(tmp_path, f"<!-- {comment} -->\n```sh\ntrue\n```\n"))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("```sh\nfalse\n```", "ended with 1"),
        ("<!-- run: exit 2 -->\n```sh\n(exit 3)\n```", "ended with 3"),
        ("```console\n$ echo one\ntwo\n```", "against two"),
        ("```console\n$ printf 'a\\nb\\n'\na\n```", "against a"),
        ("<!-- run: in other -->\n```console\n$ echo one; sleep 60\ntwo\n```", "no output matched"),
        ("<!-- run: each -->\n```sh\necho one; sleep 60\nsleep 60\n```", "no output matched"),
    ],
)
def test_a_page_with_wrong_output_fails(block: str, message: str, tmp_path: Path) -> None:
    page = read_page(page_with(tmp_path, block))
    with ExitStack() as stack, pytest.raises(AssertionError, match=message):
        PageRunner(stack, "postgresql://user@127.0.0.1:1/none", tmp_path, tmp_path, deadline_s=1.0).run(page)


def test_a_page_with_right_output_passes(tmp_path: Path) -> None:
    text = """
```console
$ export NAME=ann
$ echo "$NAME"; echo 17 things
ann
… things
```
<!-- run: in other -->
```console
$ echo "hello $NAME"; sleep 60
hello ann
```
"""
    with ExitStack() as stack:
        PageRunner(stack, "postgresql://user@127.0.0.1:1/none", tmp_path, tmp_path).run(
            read_page(page_with(tmp_path, text))
        )


def is_running(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_closing_a_terminal_ends_its_children(tmp_path: Path) -> None:
    with Terminal(tmp_path, {"PATH": "/usr/bin:/bin"}, 20.0) as terminal:
        terminal.start("sleep 600 & echo $!; wait")
        terminal.shows(re.compile(r"\d+"))
        (pid,) = re.findall(r"\d+", terminal.output)
        assert is_running(int(pid))
    deadline = time.monotonic() + 10
    while is_running(int(pid)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
