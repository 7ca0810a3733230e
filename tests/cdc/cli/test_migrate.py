"""`flagent-cdc migrate` and what it prints."""

import pytest

from cdc.cli import main


def test_migrate_and_uninstall_report_each_step(flagent_url: str, capsys: pytest.CaptureFixture[str]) -> None:
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
