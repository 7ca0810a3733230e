"""Log lines: one record, one line, with its fields."""

import json
import logging
from collections.abc import Iterator

import pytest

from cdc.observe import log_format as logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # `force` closes what it replaces; pytest's own handlers must survive that.
    root.handlers = []
    yield
    root.handlers, root.level = handlers, level


def logged(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_text_has_the_fields_after_the_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    logging.getLogger("cdc.postgres.listener").info("connected", extra={"action": "listener_connected", "position": 7})
    logging.getLogger("cdc.postgres.listener").debug("not shown")
    (line,) = logged(capsys)
    assert line.endswith("Z INFO cdc.postgres.listener: connected action=listener_connected position=7")


def test_a_line_break_in_a_field_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    logging.getLogger("cdc").warning("refused", extra={"value": "a\nERROR forged \x1b[2J"})
    (line,) = logged(capsys)
    assert line.endswith(r"value=a\nERROR forged \x1b[2J")


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", "json")
    logging.getLogger("cdc").error("failed", extra={"action": "write_failed", "value": "a\nb"})
    (line,) = logged(capsys)
    record = json.loads(line)
    assert record.pop("time").endswith("Z")
    assert record == {"level": "error", "logger": "cdc", "message": "failed", "action": "write_failed", "value": "a\nb"}


def test_exceptions_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("cdc").exception("failed")
    (line,) = logged(capsys)
    assert "ValueError: why" in json.loads(line)["exception"]
