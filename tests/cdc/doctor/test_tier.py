"""`flagent-cdc doctor` at a NATS tier: silent at a healthy one, and it names each of the broken ones."""

from pathlib import Path
from typing import Any

import pytest
from nats.js.api import StreamConfig

from cdc.admin.installation import migrate
from tests.fixtures.doctor import doctor
from tests.fixtures.flags import Writer
from tests.fixtures.nats import NatsServer, active, nats_client, relaying, run_nats
from tests.fixtures.server import until

pytestmark = pytest.mark.timeout(90)


async def errors(capsys: pytest.CaptureFixture[str], *arguments: str, **variables: str) -> dict[str, str]:
    """The errors that the doctor finds in NATS, by check."""
    _, found = await doctor(capsys, *arguments, **variables)
    nats = {check: finding for check, finding in found.items() if check.startswith(("nats", "relay"))}
    assert all(finding["remedy"] for finding in nats.values() if finding["state"] == "error")
    return {check: finding["text"] for check, finding in nats.items() if finding["state"] == "error"}


async def test_a_healthy_tier_is_silent_and_faults_are_reported(
    nats_server: NatsServer, database_url: str, flagent_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    relays = ("--database-url", database_url, "--nats", nats_server.url)
    async with nats_client(nats_server.url) as client:
        assert (await errors(capsys, *relays)).keys() == {"nats_stream"}
        jetstream = client.jetstream()
        with Writer(database_url) as writer:
            async with relaying(database_url, nats_server.url) as relay:
                await active(relay)
                writer.flag("one")

                async def is_copied() -> bool:
                    return (await jetstream.stream_info("flagent_cdc")).state.messages > 1

                await until(is_copied, "the copy of a commit")
                # Only that one server keeps it is worth a note.
                _, found = await doctor(capsys, *relays)
                assert [check for check in found if check.startswith(("nats", "relay"))] == ["nats_replicas"]
                assert await errors(capsys, "--source", nats_server.url) == {}

                migrate(flagent_url)
                other = await errors(capsys, "--database-url", flagent_url, "--nats", nats_server.url)
                assert other.keys() == {"nats_log"}

                other = await errors(capsys, *relays, FLAGENT_CDC_NATS_MAX_AGE="1m")
                assert "max_age in seconds is 86400" in other["nats_stream"]

            writer.flag("two")
            writer.flag("three")
            stopped = await errors(capsys, *relays)
            assert stopped.keys() == {"relay", "relay_lag"}
            assert "2 commits behind" in stopped["relay_lag"]
            # A node reports the missing relay too.
            assert (await errors(capsys, "--source", nats_server.url)).keys() == {"relay"}

        await change(jetstream, allow_direct=False)
        assert "allow_direct is False" in (await errors(capsys, "--source", nats_server.url))["nats_stream"]
        await change(jetstream, allow_direct=True)

        await jetstream.publish("flagent_cdc.change.public.flags", b"")
        await jetstream.purge_stream("flagent_cdc")
        assert "dropped messages" in (await errors(capsys, *relays))["nats_retention"]
        await (await jetstream.key_value("flagent_cdc_state")).purge("snapshot")
        assert "no node can start" in (await errors(capsys, *relays))["nats_snapshot"]


async def change(jetstream: Any, **changes: object) -> None:
    config: StreamConfig = (await jetstream.stream_info("flagent_cdc")).config
    await jetstream.update_stream(config.evolve(**changes))


async def test_a_missing_server_and_a_refused_login_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = await doctor(capsys, "--nats", "nats://ann:secret@127.0.0.1:1")
    assert (code, found["nats"]["state"]) == (2, "unchecked")
    assert "secret" not in str(found)
    with run_nats(tmp_path, 'authorization { user: ann, password: "right" }') as server:
        async with nats_client(server.url, user="ann", password="right"):
            refused = await errors(
                capsys, "--source", server.url, FLAGENT_CDC_NATS_USER="ann", FLAGENT_CDC_NATS_PASSWORD="no"
            )
    assert "refuses the login" in refused["nats"]
