"""Every command of the documentation does, in a real shell on a real database, what its page says.

What a page cannot know is filled in: the address of the database, and the server's port.
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

# What is written of is not published yet.
_NPM = "npm install @flagent/realtime"


class Reader:
    """Somebody who does what pages say, in as many terminals as they ask for."""

    def __init__(
        self, stack: ExitStack, database_url: str, directory: Path, data_dir: Path, deadline_s: float = 30.0
    ) -> None:
        self._stack = stack
        self._directory = directory
        self._deadline_s = deadline_s
        port, shop = lasting_port(), lasting_port()
        self._filled = {
            "postgresql://owner:password@db.example:5432/flagent": database_url,
            "127.0.0.1:8080": f"127.0.0.1:{port}",
            "127.0.0.1:3000": f"127.0.0.1:{shop}",
            "port: 3000": f"port: {shop}",
        }
        # Of somebody who has installed flagent-cdc, its SDK and PostgreSQL's programs.
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

    def fill(self, written: str, filled: str) -> None:
        """Do this, where pages write that."""
        self._filled[written] = filled

    def follow(self, page: Page) -> None:
        if page.continues is not None:
            self.follow(read_page(page.continues))
        for block in page.blocks:
            if block.reason is None:
                try:
                    self._do(block)
                except AssertionError as error:
                    raise AssertionError(f"{page.path.name}:{block.line}: {error}") from error

    def _do(self, block: Block) -> None:
        if block.is_each:
            started = [(self._open(), command) for command in block.commands]
            for terminal, command in started:
                terminal.start(self._fill(command.text))
            for terminal, command in started:
                self._look(terminal, command)
            return
        for number, command in enumerate(block.commands, 1):
            if block.terminal is not None and number == len(block.commands):
                if command.text and block.terminal in self._terminals:
                    # What ran there has to end first, as with Ctrl-C.
                    self._terminals.pop(block.terminal).close()
                terminal = self._terminal(block.terminal)
                if command.text:
                    terminal.start(self._fill(command.text))
                self._look(terminal, command)
            else:
                self._finish(self._terminal(block.terminal), command, block.status)

    def _look(self, terminal: Terminal, command: Command) -> None:
        """Wait until a command that stays running has shown what the page shows."""
        terminal.shows(pattern_of(tuple(map(self._fill, command.printed or ("…",)))))

    def _finish(self, terminal: Terminal, command: Command, status: int) -> None:
        terminal.start(self._fill(command.text))
        ended, shown = terminal.finish()
        assert ended == status, f"{command.text}\nended with {ended}:\n{shown}"
        if command.printed:
            wanted = pattern_of(tuple(map(self._fill, command.printed)))
            assert wanted.fullmatch(shown.strip("\n")), f"{command.text}\nprinted, against {wanted.pattern}:\n{shown}"
        self._exports += re.findall(r"^export .*", self._fill(command.text), re.MULTILINE)

    def _terminal(self, name: str | None) -> Terminal:
        if name not in self._terminals:
            self._terminals[name] = self._open()
        return self._terminals[name]

    def _open(self) -> Terminal:
        """A new terminal, in which the variables are set that the page has set so far."""
        terminal = self._stack.enter_context(Terminal(self._directory, self._environment, self._deadline_s))
        for export in self._exports:
            terminal.start(export)
            terminal.finish()
        return terminal

    def _fill(self, text: str) -> str:
        for written, filled in self._filled.items():
            text = text.replace(written, filled)
        return text


@pytest.fixture(scope="session")
def javascript_sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of this checkout as it would be published; skips where there is no Node."""
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
def test_what_the_page_says_is_what_happens(
    page: Page, flagent_url: str, tmp_path: Path, open_directory: Path, request: pytest.FixtureRequest
) -> None:
    parts = conninfo_to_dict(flagent_url)
    url = "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**parts)
    # `sh run` is a command of the checkout; everything else is to work anywhere.
    directory = ROOT if page.path.parent == ROOT else tmp_path
    with ExitStack() as stack:
        reader = Reader(stack, url, directory, open_directory / "data")
        if _NPM in page.path.read_text(encoding="utf-8"):
            reader.fill(_NPM, f"npm install --silent --no-audit --no-fund {request.getfixturevalue('javascript_sdk')}")
        reader.follow(page)


# What people type; in any other place of a page it would not be run.
TYPED = re.compile(
    r"^\s*(?:\$ |sh run |flagent-cdc |psql |curl |pip |python |npm |node (?!=)|nats |docker |kubectl )", re.MULTILINE
)
FIRST = re.compile(r"^    sh run demo    # .*\n    sh run test    # .*\n", re.MULTILINE)
LEADING = (
    ROOT / "README.md",
    *(path for room in ("tutorial", "how-to") for path in (ROOT / "docs" / room).glob("*.md")),
)


@pytest.mark.parametrize("path", LEADING, ids=[str(path.relative_to(ROOT)) for path in LEADING])
def test_commands_stand_where_they_are_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.name == "README.md":
        # These are what runs this very test, and the demo that tests/cdc/cli/test_serve.py runs.
        assert FIRST.search(text)
        text = FIRST.sub("", text)
    assert TYPED.findall(without_blocks(text)) == []
