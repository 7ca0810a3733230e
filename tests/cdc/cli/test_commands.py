"""The command line as a shell sees it: exit codes, one sentence on stderr, no traceback."""

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Mapping

import pytest

import cdc.cli
from cdc.cli import SUMMARIES, main
from cdc.cli.command import Command
from tests.fixtures.program import flagent_cdc


def refused(*arguments: str, **variables: str) -> str:
    """The one sentence of a command that is refused."""
    done = flagent_cdc(*arguments, **variables)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


def test_version() -> None:
    done = flagent_cdc("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("flagent-cdc 0.")


def test_help_lists_every_command() -> None:
    done = flagent_cdc("--help")
    assert done.returncode == 0
    for name in ("serve", "demo", "migrate", "uninstall", "tail", "relay", "bench"):
        assert f"\n  {name} " in done.stdout


def test_the_overview_says_what_the_commands_say_of_themselves() -> None:
    commands = {}
    for module in pkgutil.iter_modules(cdc.cli.__path__):
        command = getattr(importlib.import_module(f"cdc.cli.{module.name}"), "COMMAND", None)
        if isinstance(command, Command):
            commands[module.name.replace("_", "-")] = command.help
    assert commands == SUMMARIES
    assert list(SUMMARIES) == sorted(SUMMARIES)


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["--help"], {"psycopg", "fastapi", "importlib.metadata", "cdc.settings.settings"}),
        (["tail", "--help"], {"psycopg", "httpx2", "jwt", "json", "dataclasses", "cdc.settings.settings"}),
    ],
)
def test_help_imports_nothing_that_it_does_not_need(arguments: list[str], unneeded: set[str]) -> None:
    program = f"import sys; from cdc.cli import main\ntry: main({arguments!r})\nfinally: print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert unneeded.isdisjoint(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("name", ["serve", "demo", "migrate", "uninstall", "tail", "relay", "bench"])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: flagent-cdc {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "variables", "sentence"),
    [
        (["migrat"], {}, "flagent-cdc: 'migrat' is not a command; did you mean migrate?"),
        (["command"], {}, "flagent-cdc: 'command' is not a command; see flagent-cdc --help"),
        (["--verbose"], {}, "flagent-cdc: --verbose is not an option here; see flagent-cdc --help"),
        (["serve", "--port", "http"], {}, "argument --port: must be a port number from 0 to 65535"),
        (["serve", "--xyzzy"], {}, "unrecognized arguments: --xyzzy; see flagent-cdc serve --help"),
        (["demo", "--interval", "soon"], {}, "argument --interval: must be a duration such as 30s"),
        (["tail", "--type", "flag_gone"], {}, "argument --type: must be one of flag_created, flag_updated, "),
        (
            ["tail", "--type", "flag_update"],
            {},
            "'flag_update' is not; did you mean flag_updated? See ",
        ),
        (
            ["serve", "--log-level", "warnin"],
            {},
            "error; 'warnin' is not; did you mean warning? See ",
        ),
        (
            ["serve", "--prot", "80"],
            {},
            "arguments: --prot 80; did you mean --port? See flagent-cdc serve",
        ),
        (["serve"], {"FLAGENT_CDC_LOG_LEVEL": "eror"}, "'eror' is not; did you mean error?"),
        (["tail", "--count", "0"], {}, "argument --count: must be a whole number"),
        (["migrate"], {}, "no database: pass --database-url, or set FLAGENT_CDC_DATABASE_URL"),
        (["migrate", "--database-url", "mysql://h/d"], {}, "--database-url is of kind 'mysql'"),
        (["uninstall"], {"FLAGENT_DB_DBCONNECTIONSTR": "flagent.sqlite"}, "FLAGENT_DB_DBCONNECTIONSTR is no database"),
        (["serve"], {"FLAGENT_WS_PORT": "http"}, "FLAGENT_WS_PORT must be a port number from 0 to 65535"),
        (["serve"], {"FLAGENT_CDC_PORT": "80"}, "FLAGENT_CDC_PORT is not a setting; did you mean FLAGENT_WS_PORT?"),
        (["serve", "--host", "0.0.0.0"], {}, "'0.0.0.0' can be reached from other machines"),
        (["serve", "--host", "0.0.0.0"], {}, "authentication is off: anyone there could read every flag"),
        (["keys", "create", "x"], {}, "no database: pass"),
        (["bench", "nothing"], {}, "'nothing' is not a benchmark; choose from "),
        (["keys", "create", "x", "--expires-in", "soon"], {}, "must be a number of days above 0"),
        (
            ["keys", "create", "x", "--project", "one", "--database-url", "postgresql://h/d"],
            {},
            "--project must be a whole",
        ),
        (["serve", "--host", "flags.invalid", "--insecure"], {}, "cannot listen on flags.invalid, port 8080"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], variables: Mapping[str, str], sentence: str) -> None:
    assert sentence in refused(*arguments, **variables)


def test_an_unreachable_database_is_one_sentence() -> None:
    error = refused("migrate", "--database-url", "postgresql://ann:secret@127.0.0.1:1/flags")
    assert "postgresql://ann@127.0.0.1:1/flags cannot be reached" in error
    assert "secret" not in error


def test_without_a_command_the_overview_is_shown() -> None:
    done = flagent_cdc()
    assert done.returncode == 2
    assert "usage: flagent-cdc COMMAND" in done.stdout


def test_a_reader_that_leaves_early_is_no_error() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m cdc --help | true; {sys.executable} -m cdc --version | head -c 1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "f", "")


# Interrupted where Python drops exceptions: in the callback of a weak reference.
INTERRUPTED = """
import os, signal, sys, time, types, weakref
from cdc.cli import SUMMARIES, main
from cdc.cli.command import Command

def wait(arguments, environment):
    class Thing: pass
    thing = Thing()
    reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.{name}))
    del thing
    print("waits", flush=True)
    time.sleep(100)

# What a shell without job control starts in the background ignores it, and so do its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
SUMMARIES["wait"] = ""
module = sys.modules["cdc.cli.wait"] = types.ModuleType("cdc.cli.wait")
module.COMMAND = Command(help="", add_arguments=lambda parser: None, run=wait)
sys.argv = ["flagent-cdc", "wait"]
sys.exit(main())
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_that_arrives_where_exceptions_are_dropped_ends_the_command(name: str) -> None:
    program = INTERRUPTED.replace("{name}", name)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "waits\n", "")
