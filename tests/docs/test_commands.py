"""Every command of the documentation prints the output that its page shows, in a real shell on a real database.

The address of the database and the server's port are substituted.
"""

import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

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

# The package is not published yet.
_NPM = "npm install @flagent/realtime"


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
            "PYTHONPATH": str(ROOT / "sdk" / "python"),
            "FLAGENT_WS_PORT": str(port),
            "FLAGENT_CDC_DATA_DIR": str(data_dir),
            "LC_ALL": "C.UTF-8",
        }
        self._terminals: dict[str | None, Terminal] = {}
        self._exports: list[str] = []

    def substitute(self, written: str, actual: str) -> None:
        """Replace a text of the pages in later commands and outputs."""
        self._substitutions[written] = actual

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
                terminal.start(self._substituted(command.text))
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
                    terminal.start(self._substituted(command.text))
                self._await_output(terminal, command)
            else:
                self._finish(self._terminal(block.terminal), command, block.status)

    def _await_output(self, terminal: Terminal, command: Command) -> None:
        """Wait until a command that keeps running has printed the shown output."""
        terminal.shows(pattern_of(tuple(map(self._substituted, command.printed or ("…",)))))

    def _finish(self, terminal: Terminal, command: Command, status: int) -> None:
        terminal.start(self._substituted(command.text))
        actual, output = terminal.finish()
        assert actual == status, f"{command.text}\nended with {actual}:\n{output}"
        if command.printed:
            wanted = pattern_of(tuple(map(self._substituted, command.printed)))
            assert wanted.fullmatch(output.strip("\n")), f"{command.text}\nprinted, against {wanted.pattern}:\n{output}"
        self._exports += re.findall(r"^export .*", self._substituted(command.text), re.MULTILINE)

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

    def _substituted(self, text: str) -> str:
        for written, actual in self._substitutions.items():
            text = text.replace(written, actual)
        return text


@pytest.fixture(scope="session")
def javascript_sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of this checkout, as it would be published; skips without Node."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "LICENSE", root)
    folder = root / "sdk/javascript"
    shutil.copytree(ROOT / "sdk/javascript", folder, ignore=shutil.ignore_patterns("node_modules", "dist", "test"))
    installed_packages(folder, folder)
    for command in (["npm", "run", "--silent", "build"], ["npm", "pack", "--silent"]):
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    (package,) = folder.glob("*.tgz")
    return package


@pytest.mark.parametrize("page", PAGES, ids=[str(page.path.relative_to(ROOT)) for page in PAGES])
def test_the_commands_of_the_page_print_what_it_shows(
    page: Page, flagent_url: str, tmp_path: Path, open_directory: Path, request: pytest.FixtureRequest
) -> None:
    parts = conninfo_to_dict(flagent_url)
    url = "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**parts)
    # `sh run` needs the checkout; every other command must work in any folder.
    directory = ROOT if page.path.parent == ROOT else tmp_path
    with ExitStack() as stack:
        runner = PageRunner(stack, url, directory, open_directory / "data")
        if _NPM in page.path.read_text(encoding="utf-8"):
            runner.substitute(
                _NPM, f"npm install --silent --no-audit --no-fund {request.getfixturevalue('javascript_sdk')}"
            )
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
