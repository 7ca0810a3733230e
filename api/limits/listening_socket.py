"""The socket that the server listens on, which never leaves the process without a file to open.

asyncio accepts what waits, up to the whole backlog, before it looks at any of it. So connections beyond the limit take
all descriptors before the first of them is refused; and without a descriptor it logs a traceback for each place in the
backlog, and accepts nothing for a second, health checks included. Here a turn of the loop takes a few connections once
there is little room, so that these are refused and closed before more are taken. Where no descriptor is left all the
same, because something else has opened them, the connection is refused with one that was kept for that.
"""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["ListeningSocket"]

logger = logging.getLogger(__name__)

_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)

_LOG_INTERVAL_S = 60.0

# A connection that is refused lives for about four turns of the loop.
_TURNS = 4


class ListeningSocket(socket.socket):
    """Takes over a socket that listens; `room` is how many more connections the process may have, None for any number.

    At least `arriving` / 4 are accepted in one turn of the loop. `refusal` is written to a connection for which there
    is no descriptor.
    """

    def __init__(
        self, listening: socket.socket, *, room: Callable[[], int | None], arriving: int, refusal: bytes
    ) -> None:
        super().__init__(fileno=listening.detach())
        self._room = room
        self._least = max(1, arriving // _TURNS)
        self._refusal = refusal
        self._taken = 0
        self._spare = _open_spare()
        self._logged_at = -_LOG_INTERVAL_S

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection; raises `BlockingIOError` where none waits, or this turn has taken enough."""
        room = self._room()
        if room is not None and self._taken >= max(self._least, room // _TURNS):
            raise BlockingIOError
        try:
            accepted = super().accept()
        except OSError as error:
            if error.errno not in _OUT_OF_FILES:
                raise
            self._refuse()
            raise BlockingIOError from error
        if self._taken == 0:
            asyncio.get_running_loop().call_soon(self._begin_turn)
        self._taken += 1
        return accepted

    def close(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
        super().close()

    def _begin_turn(self) -> None:
        self._taken = 0

    def _refuse(self) -> None:
        """Answer one connection, so that the backlog empties; the loop would turn without pause otherwise."""
        self._log()
        if self._spare is not None:
            os.close(self._spare)
        with suppress(OSError):
            connection, _ = super().accept()
            with connection:
                connection.setblocking(False)
                connection.send(self._refusal)
                connection.shutdown(socket.SHUT_WR)
        self._spare = _open_spare()

    def _log(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._logged_at >= _LOG_INTERVAL_S:
            self._logged_at = now
            logger.error(
                "No file descriptor is left for another connection; raise the limit of open files",
                extra={"action": "descriptors_exhausted"},
            )


def _open_spare() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
