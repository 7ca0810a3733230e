"""The application log: its destination and its format, `text` for people or `json` (one object per line) for programs.

A log call passes a short constant sentence and puts its fields into `extra`, one of which is `action`, a stable name.
ERROR: a person must act. WARNING: the server recovered but lost something. INFO: life cycle. DEBUG: each step.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from .log_rate import LINES

__all__ = ["configure"]

# Attributes that every record has; all others come from `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}

# Libraries that log each step at INFO.
_VERBOSE = ("alembic", "httpx2", "httpcore2", "uvicorn")


def configure(level: str, format: str) -> None:
    """Log to stderr from now on; `level` and `format` as in the settings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if format == "json" else _Text())
    handler.addFilter(LINES)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _VERBOSE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Text(logging.Formatter):
    """`2026-11-23T08:00:00.123Z INFO cdc.postgres.listener: Listening action=listener_listening`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        # A field may come from outside; escaped, one record stays one line.
        line = f"{_time(record)} {record.levelname} {record.name}: {record.getMessage()}{fields}"
        shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
        return f"{shown}\n{self.formatException(record.exc_info)}" if record.exc_info else shown


class _Json(logging.Formatter):
    """One JSON object per record; an exception is in `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        shown = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            shown["exception"] = self.formatException(record.exc_info)
        return json.dumps(shown, ensure_ascii=False, default=str)
