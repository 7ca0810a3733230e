"""`flagent-cdc keys` as a person uses it."""

import psycopg
import pytest

from cdc.admin.api_keys import list_keys
from cdc.cli import main
from cdc.core.subscription.grant import Grant
from tests.fixtures.server import serving


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(["keys", *arguments], {}) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def test_a_key_is_shown_once_and_only_its_hash_is_stored(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = ("--database-url", database_url)
    text = run(
        capsys, "create", "web", "--flag", "web-*", "--flag", "x", "--tag", "t", "--project", "7",
        "--environment", "1", "--environment", "2", "--table", "orders", "--in-schema", "public",
        "--no-evaluate", "--expires-in", "30", *url,
    ).strip()  # fmt: skip
    assert text.startswith("fla_cdc_")
    (key,) = list_keys(database_url)
    assert key.grant == Grant.parse(
        {
            "flags": ["web-*", "x"],
            "tags": ["t"],
            "schemas": ["public"],
            "projects": [7],
            "environments": [1, 2],
            "tables": ["orders"],
            "evaluate": False,
        }
    )
    assert key.expires_at is not None
    assert (key.expires_at - key.created_at).days in (29, 30)
    secret = text.removeprefix(key.prefix)
    assert secret not in run(capsys, "list", *url)
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select k::text from flagent_cdc.api_key k").fetchall()
    assert secret not in str(rows)


def test_keys_are_listed_and_revoked_by_id_or_prefix(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = ("--database-url", database_url)
    run(capsys, "create", "one", *url)
    run(capsys, "create", "two", "--admin", *url)
    first, second = list_keys(database_url)
    assert "revoked; its open streams close" in run(capsys, "revoke", str(first.id), *url)
    assert "already revoked" in run(capsys, "revoke", first.prefix, *url)
    assert second.prefix in run(capsys, "revoke", second.prefix, *url)
    table = run(capsys, "list", *url).splitlines()
    assert ["name" in table[0], "one" in table[1], "two" in table[2]] == [True] * 3
    assert all("revoked" in line for line in table[1:])


def test_a_key_for_monitoring_opens_the_inside_and_nothing_else(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = ("--database-url", database_url)
    run(capsys, "create", "prometheus", "--admin-only", *url)
    (key,) = list_keys(database_url)
    assert key.grant.to_json() == {"flags": [], "tables": [], "evaluate": False, "admin": True}
    for option in (("--flag", "a"), ("--table", "t"), ("--in-schema", "s"), ("--no-evaluate",)):
        assert "--admin-only" in run(capsys, "create", "x", "--admin-only", *option, *url, code=2)


def test_the_secret_of_stream_tokens_is_rotated(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = run(capsys, "rotate-secret", "--database-url", database_url)
    assert "previous one stays valid for one minute" in said
    with psycopg.connect(database_url) as connection:
        found = connection.execute("select count(distinct secret) from flagent_cdc.stream_token_secret").fetchone()
    assert found == (2,)


def test_an_unknown_key_is_not_repeated_in_the_error(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for which in ("fla_cdc_aaaaaaaa_" + "x" * 43, "12345", "nonsense"):
        error = run(capsys, "revoke", which, "--database-url", database_url, code=2)
        assert "there is no such key" in error
        assert which not in error


async def test_a_server_without_any_key_logs_that_all_requests_will_be_rejected(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(database_url, auth_enabled=True):
        pass
    assert any(getattr(record, "action", "") == "api_keys_missing" for record in caplog.records)
