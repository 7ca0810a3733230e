"""The banner of a server that is ready: where to look, how to change a flag, how to watch, how to connect."""

import importlib.metadata
import shlex
import shutil
import sys
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cdc.core.text.shell_text import quoted
from cdc.settings.settings import Settings

__all__ = ["Banner"]

# Works on an empty table too: the first run creates the flag, later runs toggle it.
CHANGE = (
    "insert into flags (key, description, enabled, created_at) values ('hello', 'My first flag', true, now()) "
    "on conflict (key) do update set enabled = not flags.enabled"
)


@dataclass(frozen=True, slots=True)
class Banner:
    """`database` names the database without secrets; `psql` is a URL with the password.

    `psql` is None for a database that is not the embedded one: its password is not printed. `change` says how to change
    a flag; None shows a statement for `psql`, if that is known. `opens_page` also opens the page in a browser.
    """

    settings: Settings
    database: str
    psql: str | None = None
    change: str | None = None
    kind: str = "database"
    opens_page: bool = False

    @property
    def base(self) -> str:
        return f"http://{_address(self.settings.listen.host)}:{self.settings.listen.port}"

    def lines(self) -> Sequence[str]:
        base = self.base
        rows: list[tuple[str, str]] = []
        if self.settings.web.page_enabled:
            rows.append(("page", f"{base}/"))
        if self.change is not None:
            rows.append(("change", self.change))
        elif self.psql is not None:
            rows.append(("change", f"psql {shlex.quote(self.psql)} -c {quoted(CHANGE)}"))
        if self.settings.sse.enabled:
            stream = f"{base}{self.settings.sse.path}"
            path = f" --path {self.settings.sse.path}" if self.settings.sse.path != "/api/v1/events/stream" else ""
            rows.append(("watch", f"{_program()} tail {base}{path}"))
            rows.append(("", f"curl -N '{stream}?snapshot=true'"))
        if self.settings.websocket.enabled:
            rows.append(("websocket", f"ws{base.removeprefix('http')}{self.settings.websocket.path}"))
        rows.append((self.kind, self.database))
        if self.psql is not None:
            rows.append(("connect", f"psql {shlex.quote(self.psql)}"))
        rows.append(("stop", "Ctrl-C"))
        version = importlib.metadata.version("flagent-cdc")
        return [f"flagent-cdc {version} is ready at {base}", "", *(f"  {name:<10} {text}" for name, text in rows), ""]

    def show(self) -> None:
        print("\n".join(self.lines()), flush=True)
        self.open_page()

    def open_page(self) -> None:
        """Open the page in a browser if that was asked for; the server does not wait for the browser."""
        if self.opens_page:
            threading.Thread(target=_open, args=(f"{self.base}/",), name="open page", daemon=True).start()


def _open(page: str) -> None:
    if not webbrowser.open(page):
        print(f"flagent-cdc: no browser was found; open {page} yourself", file=sys.stderr, flush=True)


def _address(host: str) -> str:
    """The address to connect to for the one listened on: loopback for one that means all interfaces."""
    if host in ("0.0.0.0", ""):  # noqa: S104 (compared, not bound)
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


def _program() -> str:
    """How to call this program from the current directory; its virtual environment may not be on the path."""
    started = Path(sys.argv[0]).absolute()
    if started.name != "flagent-cdc" or shutil.which("flagent-cdc") == str(started):
        return "flagent-cdc"
    here = Path.cwd()
    return shlex.quote(str(started.relative_to(here) if started.is_relative_to(here) else started))
