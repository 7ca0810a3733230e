"""`flagent-cdc prune` as a person uses it."""

import psycopg
import pytest

from cdc.cli import main
from tests.fixtures.flags import Writer


def commits(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("select count(*) from flagent_cdc.commit_log").fetchone()
    assert row is not None
    return int(row[0])


def test_it_reports_what_it_pruned_and_keeps_what_the_owner_keeps(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Writer(database_url) as writer:
        for key in ("a", "b", "c"):
            writer.flag(key)
    held = commits(database_url)
    command = ("prune", "--database-url", database_url, "--older-than", "1ms")
    assert main(command, {}) == 0
    assert capsys.readouterr().out == "pruned 0 commits with 0 changes\n"
    assert main([*command, "--keep-at-least", "1ms"], {}) == 0
    kept, pruned = capsys.readouterr().out.splitlines()
    assert kept == "minimum age set; younger commits are kept"
    assert pruned.startswith(f"pruned {held - 1} commits with ")
    assert commits(database_url) == 1


def test_limits_can_be_switched_off(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    switched_off = {"FLAGENT_CDC_RETENTION_MAX_AGE": "off", "FLAGENT_CDC_RETENTION_MAX_BYTES": "off"}
    assert main(["prune", "--database-url", database_url, "--keep-at-least", "1ms"], switched_off) == 0
    assert capsys.readouterr().out.endswith("pruned 0 commits with 0 changes\n")


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--older-than", "5 weeks", "must be an age such as 12h or 7d"),
        ("--older-than", "9999d", "must be an age such as 12h or 7d"),
        ("--larger-than", "0", "must be a size in bytes such as 512MiB or 4GiB"),
    ],
)
def test_bad_limits_are_one_sentence(
    option: str, value: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["prune", option, value], {})
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
