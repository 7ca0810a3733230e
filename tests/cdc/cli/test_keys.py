"""`flagent-cdc keys` as a person uses it."""

import asyncio

import httpx
import psycopg
import pytest

from cdc.admin.api_keys import create_key, list_keys, list_usage, read_audit, revoke_key
from cdc.cli import main
from cdc.core.subscription.grant import Grant
from tests.fixtures.server import serving, until


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(["keys", *arguments], {}) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The sentence with which options are refused."""
    with pytest.raises(SystemExit) as ended:
        main(["keys", *arguments], {})
    assert ended.value.code == 2
    return capsys.readouterr().err


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


def test_a_key_expires_after_a_year_unless_an_option_says_otherwise(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = ("--database-url", database_url)
    run(capsys, "create", "default", *url)
    run(capsys, "create", "week", "--expires-in", "7", *url)
    run(capsys, "create", "for ever", "--never-expires", *url)
    days = [
        None if key.expires_at is None else round((key.expires_at - key.created_at).total_seconds() / 86_400)
        for key in list_keys(database_url)
    ]
    assert days == [365, 7, None]
    assert "not allowed with" in refused(capsys, "create", "both", "--expires-in", "7", "--never-expires", *url)


def test_a_key_for_monitoring_opens_the_inside_and_nothing_else(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = ("--database-url", database_url)
    run(capsys, "create", "prometheus", "--admin-only", *url)
    (key,) = list_keys(database_url)
    assert key.grant.to_json() == {"flags": [], "tables": [], "evaluate": False, "admin": True}
    for option in (("--flag", "a"), ("--table", "t"), ("--in-schema", "s"), ("--no-evaluate",)):
        assert "--admin-only" in run(capsys, "create", "x", "--admin-only", *option, *url, code=2)


def test_the_list_has_expiry_and_last_use_and_obeys_no_name(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = ("--database-url", database_url)
    run(capsys, "create", "a\nb\x1b[2J", "--never-expires", *url)
    run(capsys, "create", "used", "--expires-in", "400", *url)
    run(capsys, "create", "over", *url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("select flagent_cdc.record_key_use('{2}', '{}', '{}', '{}')")
        connection.execute(
            "update flagent_cdc.api_key_use set last_used_at = '2026-11-29 10:20:30+00' where key_id = 2"
        )
        connection.execute("update flagent_cdc.api_key set expires_at = '2026-01-02' where id = 3")
    head, first, second, third = run(capsys, "list", *url).splitlines()
    assert head.split() == ["id", "key", "name", "state", "expires", "last", "used", "scopes"]
    assert "a�b�[2J" in first
    assert "active" in first
    assert "never" in first
    assert "not since 2" in first
    assert "2026-11-29 10:20:30Z" in second
    assert "expired" in third
    assert "2026-01-02" in third


def test_the_audit_log_is_shown_the_newest_entry_last(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = ("--database-url", database_url)
    text = run(capsys, "create", "web", *url).strip()
    prefix = text[:16]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "select flagent_cdc.record_key_use('{1}', array[%s], array['wrong_secret'], array[7])", (prefix,)
        )
    run(capsys, "revoke", prefix, *url)
    said = run(capsys, "rotate-secret", *url)
    assert "previous one stays valid for one minute" in said
    head, *lines = run(capsys, "audit", *url).splitlines()
    assert head.split() == ["time", "what", "key", "name", "by", "reason"]
    assert [line.split()[2] for line in lines] == ["created", "first_used", "refused", "revoked", "secret_rotated"]
    assert "wrong_secret (7 times)" in lines[2]
    assert all(prefix in line and "web" in line for line in lines[:4])
    assert text not in "".join(lines)
    assert len(run(capsys, "audit", "--last", "2", *url).splitlines()) == 3
    for wrong in ("0", "-1", "x", "99999"):
        assert "whole number" in refused(capsys, "audit", f"--last={wrong}", *url)


async def test_a_server_records_uses_and_refusals_of_keys(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("cdc.auth.authenticator._RECORD_S", 0.05)
    text = await asyncio.to_thread(create_key, database_url, "web", Grant())
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    async with serving(database_url, auth_enabled=True) as server, httpx.AsyncClient(base_url=server.url) as http:

        async def status(key: str) -> int:
            return (await http.get("/api/v1/flags", headers={"x-api-key": key})).status_code

        assert await status(text) == 200
        assert [await status(wrong), await status("fla_cdc_nonsense")] == [401, 401]

        async def recorded() -> set[tuple[str, str | None]]:
            return {(each.action, each.reason) for each in await asyncio.to_thread(read_audit, database_url, 100)}

        async def is_recorded() -> bool:
            return await recorded() == {
                ("created", None),
                ("first_used", None),
                ("refused", "wrong_secret"),
                ("refused", "malformed"),
            }

        await until(is_recorded, "the record of the use")
        (usage,) = await asyncio.to_thread(list_usage, database_url)
        assert usage.last_used_at is not None
        await asyncio.to_thread(revoke_key, database_url, text[:16])

        async def is_refused() -> bool:
            return await status(text) == 401

        await until(is_refused, "the revocation")

        async def revocation_is_recorded() -> bool:
            return ("refused", "revoked") in await recorded()

        await until(revocation_is_recorded, "the record of the refusal")
    lines = {
        (record.action, getattr(record, "change", getattr(record, "reason", None)))  # type: ignore[attr-defined]
        for record in caplog.records
        if getattr(record, "action", "").startswith("api_key_")
    }
    assert lines == {
        ("api_key_first_used", None),
        ("api_key_refused", "wrong_secret"),
        ("api_key_refused", "unknown"),
        ("api_key_refused", "revoked"),
        ("api_key_changed", "revoked"),
    }
    assert text[16:] not in caplog.text


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
