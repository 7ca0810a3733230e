"""Where the flags of a store are kept between two runs of a program."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Protocol, Union

__all__ = ["FilePersistence", "Persistence"]

OLD_TEMPORARY_S = 3600.0


class Persistence(Protocol):
    """Keeps one text per key.

    Both methods may be asynchronous, and may raise: the error is reported, and the store goes on without.

    ``load`` returns the text that was saved last, or ``None``. ``save`` must keep the old text or the new one, whatever
    happens; it is called in a thread, at most once a second.
    """

    def load(self, key: str) -> Union[str, Awaitable[Union[str, None]], None]:
        """The text of a key; ``None`` when there is none."""

    def save(self, key: str, text: str) -> Union[Awaitable[None], None]:
        """Keep a text, in place of the last one."""


class FilePersistence:
    """One file per key in a directory, written as a whole: a reader, and the next start, find the old or the new state.

    The directory is created with mode 0700 when it does not exist, files have mode 0600. Several processes may use the
    same directory.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)

    def path(self, key: str) -> Path:
        """The file of a key."""
        return self.directory / f"flagent-{key[:32]}.json"

    def load(self, key: str) -> str | None:
        """The content of the file; ``None`` when there is none. Raises :exc:`OSError` when it cannot be read."""
        try:
            return self.path(key).read_bytes().decode("utf-8", "replace")
        except FileNotFoundError:
            return None

    def save(self, key: str, text: str) -> None:
        """Write a temporary file, sync it, and rename it. Raises :exc:`OSError`; the old file then stays."""
        path = self.path(key)
        if not self.directory.is_dir():
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remove_old(path)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(text.encode("utf-8", "surrogatepass"))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise

    def _remove_old(self, path: Path) -> None:
        """Remove what a process that was killed has left."""
        limit = time.time() - OLD_TEMPORARY_S
        for each in self.directory.glob(f"{path.name}.*.tmp"):
            # Another process may remove it first, or own it.
            with contextlib.suppress(OSError):
                if each.stat().st_mtime < limit:
                    each.unlink()
