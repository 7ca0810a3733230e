"""Health and version, in the format of Flagent's clients."""

from types import SimpleNamespace

from fastapi import Request

from api.routes.info import health, info


async def test_health_is_what_flagents_clients_compare() -> None:
    assert await health() == {"status": "OK"}


async def test_info_has_every_member_that_flagent_has() -> None:
    answer = await info(Request({"type": "http", "app": SimpleNamespace(version="1.2.3")}))
    assert answer == {
        "version": "1.2.3",
        "buildTime": None,
        "gitCommit": None,
        "enterpriseEnabled": False,
        "licenseValid": None,
    }
