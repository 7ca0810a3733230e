"""The banner of a server: how to connect, change a flag and watch."""

import time
from pathlib import Path

import pytest

from cdc.cli.banner import CHANGE, Banner
from tests.fixtures.settings import settings_with


def test_the_banner_shows_how_to_connect_change_and_watch() -> None:
    settings = settings_with(listen_host="0.0.0.0", listen_port=8099)
    text = "\n".join(Banner(settings, "embedded PostgreSQL", "postgresql://u:p@127.0.0.1:5433/flagent").lines())
    assert "is ready at http://127.0.0.1:8099" in text
    assert "psql postgresql://u:p@127.0.0.1:5433/flagent\n" in text
    assert f'-c "{CHANGE}"' in text
    assert "curl -N 'http://127.0.0.1:8099/api/v1/events/stream?snapshot=true'" in text
    assert "ws://127.0.0.1:8099/ws" in text


def test_the_page_is_opened_if_that_was_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o755)
    monkeypatch.setattr("webbrowser._tryorder", None)
    monkeypatch.setenv("BROWSER", str(browser))
    Banner(settings_with(listen_port=8099), "database").open_page()
    Banner(settings_with(listen_port=8098), "database", opens_page=True).open_page()
    deadline = time.monotonic() + 30
    while not opened.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert opened.read_text() == "http://127.0.0.1:8098/\n"


def test_the_banner_of_another_database_shows_no_password() -> None:
    text = "\n".join(Banner(settings_with(sse_enabled=False, websocket_enabled=False), "postgresql://u@h/d").lines())
    assert "psql" not in text
    assert "curl" not in text
    assert "ws://" not in text
