"""`flagent-cdc migrate` and what it prints."""

import psycopg
import pytest

from cdc.cli import main


def test_migrate_and_uninstall_report_each_step(flagent_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with psycopg.connect(flagent_url, autocommit=True) as connection:
        connection.execute("create schema tenant_1")
    assert main(["migrate", "--database-url", flagent_url, "--schema", "public", "--schema", "tenant_1"], {}) == 0
    output = capsys.readouterr().out
    assert "schema public: attached" in output
    assert "schema tenant_1: Flagent's tables do not exist yet" in output
    assert main(["migrate"], {"FLAGENT_CDC_DATABASE_URL": flagent_url}) == 0
    assert "schema public: already attached" in capsys.readouterr().out
    assert main(["migrate", "--database-url", flagent_url, "--grant-to", "nobody_here"], {}) == 2
    assert "there is no role 'nobody_here'" in capsys.readouterr().err
    assert main(["uninstall", "--database-url", flagent_url], {}) == 0
    assert "schema flagent_cdc: removed" in capsys.readouterr().out


def test_a_schema_that_does_not_exist_is_refused_before_anything_is_installed(
    flagent_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["migrate", "--database-url", flagent_url, "--schema"]
    assert main([*arguments, "publik"], {}) == 2
    assert "there is no schema 'publik' in postgresql://" in (error := capsys.readouterr().err)
    assert error.endswith("; did you mean public?\n")
    assert main([*arguments, "nope"], {}) == 2
    assert capsys.readouterr().err.endswith("; create it first\n")
    with psycopg.connect(flagent_url) as connection:
        assert connection.execute("select to_regnamespace('flagent_cdc')").fetchone() == (None,)
