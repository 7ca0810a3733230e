"""Event triggers that forbid schema changes: the command says which, and how to go on; nothing is half done."""

import pytest

from cdc.admin.watched_tables import WatchOptions, watch
from cdc.cli import main
from tests.fixtures.flags import Writer

FORBID = """
create function public.forbid() returns event_trigger language plpgsql as
$$ begin raise exception 'no schema changes here' using hint = 'ask the administrators'; end $$;
create event trigger forbid on ddl_command_start execute function public.forbid();
"""


@pytest.mark.parametrize(
    "arguments",
    [("migrate",), ("migrate", "--repair"), ("uninstall",), ("watch", "orders"), ("unwatch", "watched")],
    ids=" ".join,
)
def test_an_event_trigger_that_forbids_changes_is_one_sentence(
    flagent_url: str, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with Writer(flagent_url) as writer:
        writer.run("create table orders (id integer primary key)", "create table watched (id integer primary key)")
        if arguments != ("migrate",):
            assert main(["migrate", "--database-url", flagent_url], {}) == 0
            watch(flagent_url, "watched", WatchOptions())
        writer.connection.execute(FORBID.encode())
        try:
            capsys.readouterr()
            assert main([*arguments, "--database-url", flagent_url], {}) == 2
            (error,) = capsys.readouterr().err.splitlines()
            assert error.startswith("flagent-cdc: ")
            assert "no schema changes here" in error
            assert "alter event trigger forbid disable" in error
        finally:
            writer.run("drop event trigger forbid")
        # As before: nothing is half done.
        assert main([*arguments, "--database-url", flagent_url], {}) == 0


def test_other_errors_stay_as_they_are(flagent_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Writer(flagent_url) as writer:
        writer.run(
            "create function public.idle() returns event_trigger language plpgsql as 'begin end'",
            "create event trigger idle on ddl_command_start execute function public.idle()",
        )
        try:
            assert main(["migrate", "--grant-to", "nobody_there", "--database-url", flagent_url], {}) == 2
        finally:
            writer.run("drop event trigger idle")
    assert "event trigger" not in capsys.readouterr().err
