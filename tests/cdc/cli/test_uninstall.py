"""`flagent-cdc uninstall` as a person uses it; `tests/cdc/admin/test_installation.py` checks that no trace is left."""

import psycopg
import pytest

from cdc.cli import main


def test_it_reports_each_step_and_may_be_repeated(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["uninstall", "--database-url", database_url], {}) == 0
    assert capsys.readouterr().out.splitlines() == ["schema public: detached", "schema flagent_cdc: removed"]
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select to_regnamespace('flagent_cdc')").fetchone() == (None,)
    assert main(["uninstall"], {"FLAGENT_CDC_DATABASE_URL": database_url}) == 0
    assert capsys.readouterr().out == "flagent-cdc is not installed in this database; nothing to remove\n"
