"""`flagent-cdc doctor` as a person or a script uses it: exit codes, lines, JSON."""

import asyncio
import json

import pytest

from cdc.cli import main
from cdc.embedded.server import EmbeddedPostgres
from tests.fixtures.doctor import FEW, doctor, quick_server
from tests.fixtures.reverse_proxy import GOOD, nginx


async def test_a_healthy_set_up_is_silent(safe: EmbeddedPostgres, capsys: pytest.CaptureFixture[str]) -> None:
    async with quick_server(safe.url) as url:
        assert await doctor(capsys, "--database-url", safe.url, "--url", url) == (0, {})


async def test_a_healthy_set_up_behind_nginx_is_silent(
    safe: EmbeddedPostgres, capsys: pytest.CaptureFixture[str]
) -> None:
    async with quick_server(safe.url) as url:
        with nginx(url, GOOD) as proxied:
            assert await doctor(capsys, "--database-url", safe.url, "--url", proxied) == (0, {})


async def test_lines_for_people_name_the_error_and_its_remedy(
    flagent_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asyncio.to_thread(main, ["doctor", "--quiet", "--database-url", flagent_url], FEW) == 1
    lines = capsys.readouterr().out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("error     installed "))
    assert lines[place].endswith("flagent-cdc is not installed in this database")
    assert lines[place + 1].strip() == "→ flagent-cdc migrate"
    assert not any(line.startswith("ok") for line in lines)


async def test_an_unreachable_database_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = await doctor(capsys, "--database-url", "postgresql://ann:geheim@127.0.0.1:1/flags")
    assert code == 2
    assert found["database"]["state"] == "unchecked"
    assert "geheim" not in json.dumps(found)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to check: pass"),
        (["--url", "flags.example"], "is not a server URL"),
        (["--url", "http://127.0.0.1:1", "--credential-file", "/nowhere"], "/nowhere cannot be read"),
        (["--longest-transaction", "soon", "--url", "http://h"], "must be a duration"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["doctor", *arguments], FEW)
    except SystemExit as ended:
        code = int(str(ended.code))
    assert code == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


async def test_an_unknown_role_is_refused(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["doctor", "--database-url", database_url, "--role", "nobody_here"]
    assert await asyncio.to_thread(main, arguments, FEW) == 2
    assert "role 'nobody_here' does not exist" in capsys.readouterr().err
