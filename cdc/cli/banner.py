"""The banner of a server that is ready: how to connect, how to change a flag, how to watch."""

import importlib.metadata
import shlex
import shutil
import sys
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

    `psql` is None for a database that is not the embedded one: its password is not printed.
    """

    settings: Settings
    database: str
    psql: str | None = None
    change: str = CHANGE
    kind: str = "database"

    def lines(self) -> Sequence[str]:
        base = f"http://{_address(self.settings.listen.host)}:{self.settings.listen.port}"
        rows = [(self.kind, self.database)]
        if self.psql is not None:
            rows.append(("connect", f"psql {shlex.quote(self.psql)}"))
            rows.append(("change", f"psql {shlex.quote(self.psql)} -c {quoted(self.change)}"))
        if self.settings.web.page_enabled:
            rows.append(("page", f"{base}/"))
        if self.settings.sse.enabled:
            stream = f"{base}{self.settings.sse.path}"
            rows.append(("watch", f"curl -N '{stream}?snapshot=true'"))
            path = f" --path {self.settings.sse.path}" if self.settings.sse.path != "/api/v1/events/stream" else ""
            rows.append(("", f"{_program()} tail {base}{path}"))
        if self.settings.websocket.enabled:
            rows.append(("websocket", f"ws{base.removeprefix('http')}{self.settings.websocket.path}"))
        rows.append(("stop", "Ctrl-C"))
        version = importlib.metadata.version("flagent-cdc")
        return [f"flagent-cdc {version} is ready at {base}", "", *(f"  {name:<10} {text}" for name, text in rows), ""]

    def show(self) -> None:
        print("\n".join(self.lines()), flush=True)


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
