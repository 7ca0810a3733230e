"""Every command of the documentation prints the output that its page shows, in a real shell on a real database.

The address of the database and the server's port are substituted.
"""

import fcntl
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cdc.cli.torture.port import lasting_port
from cdc.embedded.programs import find_binaries
from tests.docs.page import Block, Command, Page, pattern_of, read_page, without_blocks
from tests.docs.terminal import Terminal
from tests.fixtures.node import installed_packages

ROOT = Path(__file__).parents[2]
PAGES = [
    page for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if (page := read_page(path)).blocks
]

pytestmark = pytest.mark.timeout(300)

# The packages that `sh run packages` would put into the checkout.
_CHECKOUT = "path/to/flagent-cdc"


class PageRunner:
    """Runs the blocks of pages, in as many terminals as they need."""

    def __init__(
        self, stack: ExitStack, database_url: str, directory: Path, data_dir: Path, deadline_s: float = 30.0
    ) -> None:
        self._stack = stack
        self._directory = directory
        self._deadline_s = deadline_s
        port, shop = lasting_port(), lasting_port()
        self._substitutions = {
            "postgresql://owner:password@db.example:5432/flagent": database_url,
            "127.0.0.1:8080": f"127.0.0.1:{port}",
            "127.0.0.1:3000": f"127.0.0.1:{shop}",
            "port: 3000": f"port: {shop}",
        }
        # The environment of a user who has installed flagent-cdc, its SDK and PostgreSQL's programs.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLAGENT_", "PYTHON", "PG"))}
        self._environment = {
            **kept,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(find_binaries()), kept["PATH"]]),
            # What the packages of this checkout need is here already: pip asks no registry.
            "PYTHONPATH": sysconfig.get_path("purelib"),
            "PIP_NO_INDEX": "1",
            "FLAGENT_WS_PORT": str(port),
            "FLAGENT_CDC_DATA_DIR": str(data_dir),
            "LC_ALL": "C.UTF-8",
        }
        self._terminals: dict[str | None, Terminal] = {}
        self._exports: list[str] = []

    def substitute(self, written: str, actual: str) -> None:
        """Replace a text of the pages in later commands and outputs."""
        self._substitutions[written] = actual

    def substituted(self, text: str) -> str:
        """A text of the pages with the addresses of this run."""
        for written, actual in self._substitutions.items():
            text = text.replace(written, actual)
        return text

    def run(self, page: Page) -> None:
        if page.continues is not None:
            self.run(read_page(page.continues))
        for block in page.blocks:
            if block.reason is None:
                try:
                    self._run_block(block)
                except AssertionError as error:
                    raise AssertionError(f"{page.path.name}:{block.line}: {error}") from error

    def _run_block(self, block: Block) -> None:
        if block.is_each:
            started = [(self._open(), command) for command in block.commands]
            for terminal, command in started:
                terminal.start(self.substituted(command.text))
            for terminal, command in started:
                self._await_output(terminal, command)
            return
        for number, command in enumerate(block.commands, 1):
            if block.terminal is not None and number == len(block.commands):
                if command.text and block.terminal in self._terminals:
                    # The command that runs there has to end first, as with Ctrl-C.
                    self._terminals.pop(block.terminal).close()
                terminal = self._terminal(block.terminal)
                if command.text:
                    terminal.start(self.substituted(command.text))
                self._await_output(terminal, command)
            else:
                self._finish(self._terminal(block.terminal), command, block.status)

    def _await_output(self, terminal: Terminal, command: Command) -> None:
        """Wait until a command that keeps running has printed the shown output."""
        terminal.shows(pattern_of(tuple(map(self.substituted, command.printed or ("…",)))))

    def _finish(self, terminal: Terminal, command: Command, status: int) -> None:
        terminal.start(self.substituted(command.text))
        actual, output = terminal.finish()
        assert actual == status, f"{command.text}\nended with {actual}:\n{output}"
        if command.printed:
            wanted = pattern_of(tuple(map(self.substituted, command.printed)))
            assert wanted.fullmatch(output.strip("\n")), f"{command.text}\nprinted, against {wanted.pattern}:\n{output}"
        self._exports += re.findall(r"^export .*", self.substituted(command.text), re.MULTILINE)

    def _terminal(self, name: str | None) -> Terminal:
        if name not in self._terminals:
            self._terminals[name] = self._open()
        return self._terminals[name]

    def _open(self) -> Terminal:
        """A new terminal, with the variables that the page has exported so far."""
        terminal = self._stack.enter_context(Terminal(self._directory, self._environment, self._deadline_s))
        for export in self._exports:
            terminal.start(export)
            terminal.finish()
        return terminal


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout, in which `sh run packages` has built the SDKs; skips without Node."""
    installed_packages(ROOT / "tests/ofrep", tmp_path_factory.mktemp("npm"))
    with (ROOT / "run").open() as lock:
        # Tests run in several processes; only one may build at a time.
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = ["sh", "run", "packages", "python", "javascript"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return ROOT


@pytest.fixture
def flags_of_others(flagent_url: str) -> Iterator[None]:
    """Flags that no page made. They have what the pages look for, and are the same after the page."""
    with psycopg.connect(flagent_url, autocommit=True) as connection:
        for number, key in enumerate(("old_checkout", "hello_world", "other")):
            connection.execute(
                "with f as (insert into flags (key, description, enabled, created_at)"
                " values (%s, 'The new checkout', %s, now()) returning id),"
                " s as (insert into segments (flag_id, description, rank, rollout_percent, created_at)"
                " select id, 'chosen countries', 1, 50, now() from f returning id),"
                " v as (insert into variants (flag_id, key, created_at) select id, 'new', now() from f returning id)"
                " insert into constraints (segment_id, property, operator, value, created_at)"
                " select id, 'country', 'IN', 'DE', now() from s",
                (key, number % 2 == 0),
            )
        before = _rows_of_others(connection)
        assert before.count("country") == 3
        yield
        assert _rows_of_others(connection) == before, "the page changed flags that it had not made"


def _rows_of_others(connection: psycopg.Connection) -> str:
    parts = {
        "flags": "id in (select id from others)",
        "segments": "flag_id in (select id from others)",
        "variants": "flag_id in (select id from others)",
        "constraints": "segment_id in (select s.id from segments s join others o on o.id = s.flag_id)",
        "distributions": "segment_id in (select s.id from segments s join others o on o.id = s.flag_id)",
    }
    rows: list[str] = []
    for table, condition in parts.items():
        statement = (
            "with others as (select id from flags where key in ('old_checkout', 'hello_world', 'other'))"
            f" select to_jsonb(t)::text from {table} t where {condition} order by 1"
        )
        rows += [f"{table} {row}" for (row,) in connection.execute(statement.encode()).fetchall()]
    return "\n".join(rows)


@pytest.mark.usefixtures("flags_of_others")
@pytest.mark.parametrize("page", PAGES, ids=[str(page.path.relative_to(ROOT)) for page in PAGES])
def test_the_commands_of_the_page_print_what_it_shows(
    page: Page, flagent_url: str, tmp_path: Path, open_directory: Path, request: pytest.FixtureRequest
) -> None:
    parts = conninfo_to_dict(flagent_url)
    url = "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**parts)
    # The README begins in the checkout; every other command must work in any folder.
    directory = ROOT if page.path.parent == ROOT else tmp_path
    with ExitStack() as stack:
        runner = PageRunner(stack, url, directory, open_directory / "data")
        if _CHECKOUT in page.path.read_text(encoding="utf-8"):
            runner.substitute(_CHECKOUT, str(request.getfixturevalue("checkout")))
        runner.run(page)


# Commands that a user types; outside a block they would not be run.
TYPED = re.compile(
    r"^\s*(?:\$ |sh run |flagent-cdc |psql |curl |pip |python |npm |node (?!=)|nats |docker |kubectl )", re.MULTILINE
)
FIRST = re.compile(r"^    sh run demo    # .*\n    sh run test    # .*\n", re.MULTILINE)
LEADING = (
    ROOT / "README.md",
    *(path for room in ("tutorial", "how-to") for path in (ROOT / "docs" / room).glob("*.md")),
)


@pytest.mark.parametrize("path", LEADING, ids=[str(path.relative_to(ROOT)) for path in LEADING])
def test_every_command_is_in_a_block_that_is_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.name == "README.md":
        # These run this test, and the demo that tests/cdc/cli/test_demo.py runs.
        assert FIRST.search(text)
        text = FIRST.sub("", text)
    assert TYPED.findall(without_blocks(text)) == []
