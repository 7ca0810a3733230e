"""OpenFeature's own OFREP providers against us: the web provider, which follows the stream, and the Python provider."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from cdc.fanout.subscriber import CloseReason
from tests.fixtures.authenticated import SECRET, token
from tests.fixtures.flags import Writer
from tests.fixtures.ofrep import WebProvider, installed_providers, web_provider
from tests.fixtures.reverse_proxy import GOOD, nginx
from tests.fixtures.server import RunningServer, ServerProcess, serving

# -- the web provider -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def providers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed_providers(tmp_path_factory.mktemp("npm"))


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        yield writer


async def changed(provider: WebProvider) -> list[str]:
    flags: list[str] = (await provider.next("changed"))["flags"]
    return sorted(flags)


async def test_the_web_provider_evaluates_our_flags(providers: Path, database_url: str, writer: Writer) -> None:
    writer.static_flag("checkout", "on", "off")
    writer.run("""update variants set attachment = '{"color": "blue"}' where key = 'on'""")
    writer.static_flag("theme", "dark", "light")
    writer.static_flag("asleep", "on", "off", enabled=False)
    only_us = writer.flag("only-us", enabled=True)
    segment = writer.segment(only_us)
    writer.constraint(segment, "country", "EQ", "US")
    writer.share(segment, writer.variant(only_us, "on"))
    async with serving(database_url) as server, web_provider(providers, server.url) as provider:
        checkout = await provider.ask("boolean checkout")
        assert (checkout["value"], checkout["reason"], checkout["variant"]) == (True, "STATIC", "on")
        assert checkout["flagMetadata"] == {"color": "blue", "flagID": 1, "snapshotID": 0}
        theme = await provider.ask("string theme")
        assert (theme["value"], theme["reason"], theme["variant"]) == ("dark", "STATIC", "dark")
        asleep = await provider.ask("boolean asleep")
        assert (asleep["value"], asleep["reason"], asleep.get("errorCode")) == (False, "DISABLED", None)
        missing = await provider.ask("boolean missing")
        assert (missing["value"], missing["errorCode"]) == (False, "FLAG_NOT_FOUND")
        us = await provider.ask("boolean only-us")
        assert (us["value"], us["reason"]) == (True, "TARGETING_MATCH")
        await provider.ask("context DE")
        elsewhere = await provider.ask("boolean only-us")
        assert (elsewhere["value"], elsewhere["reason"], elsewhere.get("errorCode")) == (False, "UNKNOWN", None)
        assert provider.of_type("error") == []


async def test_the_web_provider_notices_changes_by_plain_sql_without_polling(
    providers: Path, database_url: str, writer: Writer
) -> None:
    flag_id = writer.static_flag("checkout", "on", "off")
    async with serving(database_url) as server, web_provider(providers, server.url) as provider:
        assert (await provider.ask("boolean checkout"))["value"] is True
        fetches = len(provider.of_type("fetched"))

        writer.run("update distributions set (variant_id, variant_key) = (2, 'off')")
        assert await changed(provider) == ["checkout"]
        assert (await provider.ask("boolean checkout"))["value"] is False

        writer.toggle(flag_id)
        assert await changed(provider) == ["checkout"]
        assert (await provider.ask("boolean checkout"))["reason"] == "DISABLED"

        # Several commits within the provider's own pause are one refetch or more, but the last state is there.
        writer.static_flag("theme", "dark")
        while "theme" not in await changed(provider):
            pass
        while (await provider.ask("string theme"))["value"] != "dark":
            await changed(provider)

        writer.run("update flags set deleted_at = now() where key = 'theme'")
        while (await provider.ask("string theme")).get("errorCode") != "FLAG_NOT_FOUND":
            await changed(provider)

        refetches = provider.of_type("fetched")[fetches:]
        assert refetches
        assert all(fetch["etag"] for fetch in refetches), "a fetch that no notice of the stream asked for"
        (stream,) = provider.of_type("stream")
        assert stream["url"].startswith(server.url)


async def test_the_web_provider_misses_nothing_between_its_evaluation_and_its_stream(
    providers: Path, server: RunningServer, writer: Writer
) -> None:
    writer.static_flag("checkout", "on", "off", enabled=False)
    async with web_provider(providers, server.url, is_held=True) as provider:
        assert (await provider.ask("boolean checkout"))["value"] is False
        writer.toggle(1)
        await provider.ask("release")
        assert await changed(provider) == ["checkout"]
        assert (await provider.ask("boolean checkout"))["value"] is True


async def test_the_web_provider_notices_changes_behind_a_prefix_and_with_a_credential(
    providers: Path, database_url: str, writer: Writer
) -> None:
    """A browser's stream has no header for the credential, and the address in the answer is all that it knows."""
    flag_id = writer.static_flag("checkout", "on", "off")
    async with serving(
        database_url, auth_jwt_secret=SECRET, limits_trusted_proxies=(ip_network("127.0.0.0/8"),)
    ) as server:
        with nginx(server.url, f"{GOOD} proxy_set_header X-Forwarded-Prefix /flags;", prefix="/flags") as proxied:
            async with web_provider(providers, proxied, credential=token(flags=["checkout"])) as provider:
                assert (await provider.ask("boolean checkout"))["value"] is True
                writer.toggle(flag_id)
                assert await changed(provider) == ["checkout"]
                assert (await provider.ask("boolean checkout"))["reason"] == "DISABLED"
                assert provider.of_type("stream")[0]["url"].startswith(f"{proxied}/ofrep/v1/events?token=")


async def test_the_web_provider_gets_a_new_token_when_its_stream_has_ended(
    providers: Path, database_url: str, writer: Writer
) -> None:
    writer.static_flag("checkout", "on", "off")
    async with (
        serving(database_url, auth_jwt_secret=SECRET) as server,
        web_provider(providers, server.url, credential=token()) as provider,
    ):
        for subscriber in list(server.pipeline.hub._subscribers):
            subscriber.delivery.close(subscriber, CloseReason.RESTARTING, "restarting")
        # The old token opened the old stream. The provider asks for the flags, which have not changed, to get another.
        while len({stream["url"] for stream in provider.of_type("stream")}) < 2:
            await provider.next("stream")
        writer.toggle(1)
        assert await changed(provider) == ["checkout"]


async def test_the_web_provider_learns_what_changed_while_the_server_was_gone(
    providers: Path, database_url: str, writer: Writer
) -> None:
    writer.static_flag("checkout", "on", "off")
    server = ServerProcess(database_url)
    try:
        server.start()
        await server.ready()
        async with web_provider(providers, server.url) as provider:
            assert (await provider.ask("boolean checkout"))["value"] is True
            server.send(signal.SIGKILL)
            server.wait()
            await provider.next("stale")
            writer.run("update distributions set (variant_id, variant_key) = (2, 'off')")
            server.start()
            await server.ready()
            assert await changed(provider) == ["checkout"]
            assert (await provider.ask("boolean checkout"))["value"] is False
    finally:
        server.kill()


# -- the Python provider ----------------------------------------------------------------------------------------------


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[OpenFeatureClient]:
    """A client whose provider asks this server; it blocks, so it must be called in a thread."""
    provider = OFREPProvider(server.url)
    await asyncio.to_thread(api.set_provider_and_wait, provider, "flagent-cdc")
    yield api.get_client("flagent-cdc")
    provider.session.close()
    api.clear_providers()


US = EvaluationContext("u1", {"country": "US"})


async def test_the_python_provider_evaluates_our_flags(
    server: RunningServer, client: OpenFeatureClient, writer: Writer
) -> None:
    writer.static_flag("team/checkout:v2", "on", "off")
    writer.run("""update variants set attachment = '{"color": "blue"}' where key = 'on'""")
    writer.static_flag("theme", "dark", "light")
    writer.static_flag("asleep", "on", "off", enabled=False)
    writer.flag("nobody", enabled=True)
    newest = await server.pipeline.newest_position()
    assert await server.pipeline.hub.reached(newest, 20)

    def ask() -> None:
        checkout = client.get_boolean_details("team/checkout:v2", False, US)
        assert (checkout.value, checkout.reason, checkout.variant) == (True, Reason.STATIC, "on")
        assert checkout.flag_metadata == {"color": "blue", "flagID": 1, "snapshotID": 0}
        theme = client.get_string_details("theme", "none", US)
        assert (theme.value, theme.reason, theme.variant) == ("dark", Reason.STATIC, "dark")
        asleep = client.get_boolean_details("asleep", True, US)
        assert (asleep.value, asleep.reason, asleep.error_code) == (True, Reason.DISABLED, None)
        nobody = client.get_string_details("nobody", "default", US)
        assert (nobody.value, nobody.reason, nobody.error_code) == ("default", Reason.UNKNOWN, None)
        missing = client.get_boolean_details("missing", True, US)
        assert (missing.value, missing.error_code) == (True, ErrorCode.FLAG_NOT_FOUND)
        nameless = client.get_boolean_details("theme", True)
        assert (nameless.value, nameless.error_code) == (True, ErrorCode.TARGETING_KEY_MISSING)
        wrong = client.get_boolean_details("theme", True, US)
        assert (wrong.value, wrong.error_code) == (True, ErrorCode.TYPE_MISMATCH)

    await asyncio.to_thread(ask)


async def test_the_python_provider_sees_a_change_at_its_next_question(
    server: RunningServer, client: OpenFeatureClient, writer: Writer
) -> None:
    flag_id = writer.static_flag("checkout", "on", "off")
    for expected in (True, False, True):
        assert await server.pipeline.hub.reached(await server.pipeline.newest_position(), 20)
        assert await asyncio.to_thread(client.get_boolean_value, "checkout", False, US) is expected
        writer.toggle(flag_id)
