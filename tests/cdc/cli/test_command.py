"""Options and settings of a command: which takes precedence, and how a bad value is reported."""

import argparse

import pytest

from cdc.cli.command import Parser, database_url, settings_from
from cdc.core.errors import InvalidInput
from cdc.settings.settings import Settings


@pytest.fixture
def parser() -> Parser:
    parser = Parser(prog="flagent-cdc test")
    parser.add_setting("--port", "listen.port")
    parser.add_setting("--database-url", "database.url")
    parser.add_setting("--schema", "database.schemas", repeatable=True)
    parser.add_value("--interval", "DURATION", "1s", "time between two changes")
    parser.add_value("--limit", "DURATION", None, "maximum time")
    return parser


def test_an_option_takes_precedence_over_its_variable(parser: Parser) -> None:
    environment = {"FLAGENT_WS_PORT": "8081", "FLAGENT_CDC_SCHEMAS": "a,b"}
    settings = settings_from(parser.parse_args([]), environment)
    assert (settings.listen.port, settings.database.schemas) == (8081, ("a", "b"))
    arguments = parser.parse_args(["--port", "8082", "--schema", "c", "--schema", "d"])
    settings = settings_from(arguments, environment)
    assert (settings.listen.port, settings.database.schemas) == (8082, ("c", "d"))


def test_a_value_has_a_format_and_a_default(parser: Parser) -> None:
    assert parser.parse_args([]).interval == 1.0
    assert parser.parse_args([]).limit is None
    assert parser.parse_args(["--interval", "500ms", "--limit", "2m"]).limit == 120.0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--port", "http"],
            "argument --port: must be a port number from 0 to 65535 (0 = any free one)",
        ),
        (["--interval", "soon"], "argument --interval: must be a duration such as"),
        (["--nope"], "unrecognized arguments: --nope"),
    ],
)
def test_a_bad_argument_is_one_sentence(
    parser: Parser, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"flagent-cdc test: {sentence}")
    assert error.endswith("; see flagent-cdc test --help\n")
    assert error.count("\n") == 1


def test_help_names_the_default_and_the_variable(parser: Parser) -> None:
    text = " ".join(parser.format_help().split())
    assert "--port PORT The server's port, for all of HTTP, SSE and WebSocket. Default: 8080 (FLAGENT_WS_PORT)." in text
    assert "Default: unset (FLAGENT_CDC_DATABASE_URL)." in text
    assert "time between two changes (default: 1s)" in text


def test_a_bad_database_url_names_the_option_that_gave_it(parser: Parser) -> None:
    with pytest.raises(InvalidInput, match=r"^--database-url is of kind 'mysql'"):
        settings_from(parser.parse_args(["--database-url", "mysql://h/d"]), {})
    with pytest.raises(InvalidInput, match=r"^FLAGENT_CDC_DATABASE_URL is of kind 'mysql'"):
        settings_from(parser.parse_args([]), {"FLAGENT_CDC_DATABASE_URL": "mysql://h/d"})


def test_a_missing_database_url_names_the_ways_to_give_one() -> None:
    with pytest.raises(
        InvalidInput, match=r"^no database: pass --database-url, or set FLAGENT_CDC_DATABASE_URL"
    ) as caught:
        database_url(Settings.from_environment({}))
    assert caught.value.code == "missing_database_url"
    given = settings_from(argparse.Namespace(), {"FLAGENT_CDC_DATABASE_URL": "postgresql://h/d"})
    assert database_url(given) == "postgresql://h/d"
