"""A client's session on libpq itself: it sends a step, and records everything that the server sends back."""

import re
import select
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.pq import DiagnosticField, ExecStatus
from psycopg.pq.abc import PGresult

from .program import Step

__all__ = ["Outcome", "Result", "Session"]

# What the server reports by itself when it changes.
_PARAMETERS = (
    "client_encoding", "DateStyle", "TimeZone", "IntervalStyle", "standard_conforming_strings", "application_name",
    "is_superuser", "session_authorization", "default_transaction_read_only", "search_path",
)  # fmt: skip

_ERROR_FIELDS = (
    DiagnosticField.SEVERITY_NONLOCALIZED, DiagnosticField.SQLSTATE, DiagnosticField.MESSAGE_PRIMARY,
    DiagnosticField.MESSAGE_DETAIL, DiagnosticField.MESSAGE_HINT, DiagnosticField.CONTEXT,
    DiagnosticField.SCHEMA_NAME, DiagnosticField.TABLE_NAME, DiagnosticField.CONSTRAINT_NAME,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to one statement: its command tag with the number of rows, its rows as text, or its error."""

    tag: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str | None, ...], ...] = ()
    error: tuple[str, ...] | None = None

    def __str__(self) -> str:
        if self.error is not None:
            return " | ".join(part for part in self.error if part)
        return " ".join([self.tag, *(str(row) for row in self.rows)])


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a client sees of one step."""

    results: tuple[Result, ...]
    notices: tuple[str, ...]
    notifications: tuple[str, ...]
    transaction_status: str
    parameters: tuple[str | None, ...]

    @property
    def is_error(self) -> bool:
        return any(result.error is not None for result in self.results)

    @property
    def sqlstate(self) -> str | None:
        return next((result.error[1] for result in self.results if result.error is not None), None)


class Session:
    """Call `send`, then `receive` until it returns the outcome; `is_busy` in between."""

    def __init__(self, url: str, **settings: str) -> None:
        """`settings` are defaults of this session, to which RESET and DISCARD return."""
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._connection = pq.PGconn.connect(make_conninfo(url, options=options).encode())
        if self._connection.status != pq.ConnStatus.OK:
            raise ConnectionError(self._connection.get_error_message())
        self._connection.notice_handler = self._notice
        self.pid = self._connection.backend_pid
        self.step: Step | None = None
        self._results: list[Result] = []
        self._notices: list[str] = []

    def close(self) -> None:
        self._connection.finish()

    def fileno(self) -> int:
        return self._connection.socket

    @property
    def is_in_transaction(self) -> bool:
        return self._connection.transaction_status != pq.TransactionStatus.IDLE

    def run(self, sql: str) -> Outcome:
        """Send a query string and wait until it is over."""
        self.start(sql)
        return self.finish()

    def start(self, sql: str) -> None:
        self.send(Step(0, "query", sql))

    def finish(self, deadline_s: float = 20.0) -> Outcome:
        while (outcome := self.receive()) is None:
            if not select.select([self], [], [], deadline_s)[0]:
                raise TimeoutError(self.step)
        return outcome

    def send(self, step: Step) -> None:
        self.step = step
        self._results, self._notices = [], []
        text = step.sql.encode(self._encoding, "replace")
        if step.is_extended:
            self._connection.send_query_params(text, None)
        else:
            self._connection.send_query(text)

    def receive(self) -> Outcome | None:
        """What has arrived by now; the outcome when the step is over."""
        assert self.step is not None
        self._connection.consume_input()
        while not self._connection.is_busy():
            result = self._connection.get_result()
            if result is None:
                self.step = None
                return self._outcome()
            self._take(result)
        return None

    @property
    def _encoding(self) -> str:
        name = self._connection.parameter_status(b"client_encoding") or b"UTF8"
        return {b"LATIN1": "latin-1"}.get(name, "utf-8")

    def _take(self, result: PGresult) -> None:
        assert self.step is not None
        if result.status == ExecStatus.COPY_IN:
            if self.step.copy:
                self._connection.put_copy_data(self.step.copy.encode(self._encoding, "replace"))
            self._connection.put_copy_end()
        elif result.status == ExecStatus.COPY_OUT:
            rows: list[tuple[str | None, ...]] = []
            while True:
                size, data = self._connection.get_copy_data(0)
                if size <= 0:
                    break
                rows.append((bytes(data).decode(self._encoding, "backslashreplace"),))
            self._results.append(Result("", rows=tuple(rows)))
        else:
            self._results.append(self._result(result))

    def _result(self, result: PGresult) -> Result:
        if result.status == ExecStatus.FATAL_ERROR:
            return Result("", error=self._diagnostics(result))
        columns = tuple((result.fname(n) or b"").decode(self._encoding, "replace") for n in range(result.nfields))
        rows = [
            tuple(self._text(result.get_value(row, column)) for column in range(result.nfields))
            for row in range(result.ntuples)
        ]
        if self.step is not None and not self.step.is_ordered:
            rows.sort(key=repr)
        return Result((result.command_status or b"").decode(), columns, tuple(rows))

    def _outcome(self) -> Outcome:
        notifications: list[str] = []
        while (notification := self._connection.notifies()) is not None:
            notifications.append(f"{notification.relname.decode()} {notification.extra.decode(errors='replace')}")
        parameters = tuple(
            None if value is None else value.decode(errors="replace")
            for value in (self._connection.parameter_status(name.encode()) for name in _PARAMETERS)
        )
        status = pq.TransactionStatus(self._connection.transaction_status).name
        return Outcome(tuple(self._results), tuple(self._notices), tuple(notifications), status, parameters)

    def _notice(self, result: PGresult) -> None:
        self._notices.append(" | ".join(part for part in self._diagnostics(result) if part))

    def _text(self, value: bytes | None) -> str | None:
        return None if value is None else value.decode(self._encoding, "backslashreplace")

    def _diagnostics(self, result: PGresult) -> tuple[str, ...]:
        fields = [(result.error_field(field) or b"").decode(self._encoding, "replace") for field in _ERROR_FIELDS]
        if fields[1].startswith("40"):
            # Processes, transactions and places of rows.
            fields[3] = fields[5] = ""
        return tuple(_without_places(fields))


def _without_places(fields: Sequence[str]) -> list[str]:
    return [re.sub(r"tuple \(\d+,\d+\)", "tuple", field) for field in fields]
