"""The synchronous clients, the OpenFeature provider, and the examples of the README."""

from __future__ import annotations

import asyncio
import inspect
import pathlib
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ProviderFatalError
from openfeature.flag_evaluation import Reason
from scripted import DEADLINE_S, Peer, Script, ScriptedServer, event, flag

import flagent_realtime
from flagent_realtime import ClientClosed, ReconnectConfig, StoreStatus, sync
from flagent_realtime.openfeature import FlagentProvider

README = pathlib.Path(__file__).resolve().parents[1] / "README.md"
QUICK = ReconnectConfig(max_attempts=0, initial_delay=0.01, max_delay=0.05)


class ThreadedServer:
    """A scripted server in a thread, for clients that block."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    async def _main(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with ScriptedServer(*self._scripts) as self.server:
            self._started.set()
            await self._end.wait()

    def __enter__(self) -> ThreadedServer:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    # OpenFeature keeps a thread pool for the life of the process.
    left = [each for each in threading.enumerate() if each not in before and not each.name.startswith("openfeature")]
    for thread in left:
        thread.join(5)
    assert not [thread for thread in left if thread.is_alive()]


def eventually(probe: Callable[[], object], expected: object) -> None:
    """Wait for a value, with a deadline."""
    end = time.monotonic() + DEADLINE_S
    while (found := probe()) != expected:
        assert time.monotonic() < end, f"still {found!r}, not {expected!r}"
        time.sleep(0.005)


def rollout(id: int, key: str, variant: str, attachment: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    share = {"id": 1, "segmentID": id, "variantID": id, "variantKey": variant, "percent": 100}
    segment = {"id": id, "flagID": id, "rank": 0, "rolloutPercent": 100, "constraints": [], "distributions": [share]}
    return flag(
        id, key, enabled=True, tags=[{"id": 1, "value": "payment"}], segments=[segment],
        variants=[{"id": id, "flagID": id, "key": variant, "attachment": attachment}], **more,
    )  # fmt: skip


LIVE = rollout(1, "new_payment_flow", "on")


async def lively(peer: Peer) -> None:
    """A snapshot, then an event."""
    await peer.open()
    await peer.greet(10)
    if peer.wants_snapshot:
        await peer.snapshot(10, LIVE)
    updated = LIVE | {"notes": "new"}
    await peer.send(event("flag_updated", "11-0@k", updated))
    await peer.snapshots_until_gone(11, updated)


@pytest.mark.parametrize("transport", ["sse", "ws"])
def test_a_store_without_asyncio(transport: str) -> None:
    with ThreadedServer(lively) as threaded:
        make = sync.FlagentWebSocketClient if transport == "ws" else sync.FlagentSSEClient
        changed, seen = threading.Event(), queue.SimpleQueue[str]()
        client = make(threaded.server.url(transport), reconnect_config=QUICK)
        end = client.on_event(lambda event: seen.put(threading.current_thread().name))
        store = sync.FlagStore(client)
        store.on_change(lambda change: changed.set() if change.kind.value == "updated" else None)
        with client:
            store.ready(5)
            assert changed.wait(5)
            found = store.get("new_payment_flow")
            assert found is not None
            assert (found.enabled, found.notes, len(store), store.status) == (True, "new", 1, StoreStatus.READY)
            assert store.evaluate("new_payment_flow", "e").variant_key == "on"
            assert seen.get(timeout=5).startswith("flagent-handlers")
            end()
        assert store.status is StoreStatus.CLOSED
        client.close()
        with pytest.raises(ClientClosed):
            store.ready(1)


def test_closing_in_a_handler_of_a_thread() -> None:
    with ThreadedServer(lively) as threaded:
        done = threading.Event()

        def closing(event: object) -> None:
            client.close()
            done.set()

        client = sync.FlagentWebSocketClient(threaded.server.url("ws"), reconnect_config=QUICK)
        client.on_event(closing)
        client.start()
        assert done.wait(10)


def test_sync_and_async_are_twins() -> None:
    """Each public method of the asynchronous classes has a synchronous twin, or a reason why not."""
    missing_by_design = {
        "unsubscribe": "each subscription returns the function that removes it",
        "queued_messages": "the number belongs to the event loop's queue",
        "selection": "internal",
    }
    for name in ("FlagentClient", "FlagentWebSocketClient", "FlagentSSEClient", "FlagStore"):
        original, twin = getattr(flagent_realtime, name), getattr(sync, name)
        for member, value in inspect.getmembers(original):
            if member.startswith("_") or member in missing_by_design:
                continue
            assert hasattr(twin, member), f"{name}.{member}"
            if inspect.isfunction(value) and value.__name__ != "subscribe":
                assert list(inspect.signature(value).parameters) == list(
                    inspect.signature(getattr(twin, member)).parameters
                ), f"{name}.{member}"


def test_the_openfeature_provider() -> None:
    step = threading.Event()
    targeted, partial = rollout(8, "7", "no"), rollout(9, "some", "yes")
    rule = {"id": 1, "segmentID": 8, "property": "country", "operator": "EQ", "value": "US"}
    targeted["segments"][0]["constraints"].append(rule)
    partial["segments"][0]["rolloutPercent"] = 99

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        await peer.snapshot(
            10,
            rollout(1, "bool", "on"), rollout(2, "int", "a", {"value": "42"}), rollout(3, "float", "b", {"value": "1.5"}), rollout(4, "object", "c", {"x": "y"}),
            flag(5, "off"), rollout(6, "text", "blue"), flag(7, "empty", enabled=True),
            targeted, partial,
        )  # fmt: skip
        await asyncio.get_running_loop().run_in_executor(None, step.wait, 10)
        await peer.send(event("flag_updated", "11-0@k", rollout(6, "text", "green")))
        await peer.heartbeat(11, fresh=False)
        await peer.heartbeat(11)
        await peer.gone()

    received: list[tuple[str, list[str] | None]] = []
    ready_again = threading.Event()

    def note(kind: str, details: EventDetails) -> None:
        received.append((kind, details.flags_changed))
        if [each for each, _ in received] == [
            "PROVIDER_READY",
            "PROVIDER_CONFIGURATION_CHANGED",
            "PROVIDER_STALE",
            "PROVIDER_READY",
        ]:
            ready_again.set()

    with ThreadedServer(script) as threaded:
        kinds = (
            ProviderEvent.PROVIDER_READY,
            ProviderEvent.PROVIDER_STALE,
            ProviderEvent.PROVIDER_CONFIGURATION_CHANGED,
        )
        provider = FlagentProvider(
            lambda: sync.FlagentWebSocketClient(threaded.server.url("ws"), reconnect_config=QUICK)
        )
        try:
            api.set_provider_and_wait(provider)
            handlers = {kind: (lambda details, kind=kind: note(kind.value, details)) for kind in kinds}
            for kind, handler in handlers.items():
                api.add_handler(kind, handler)
            client = api.get_client()
            context = EvaluationContext("e", {"country": "US", "list": [1]})
            assert client.get_boolean_value("bool", False, context) is True
            assert client.get_integer_value("int", 0, context) == 42
            assert client.get_float_value("float", 0.0, context) == 1.5
            assert client.get_object_value("object", {}, context) == {"x": "y"}
            assert client.get_string_value("text", "", context) == "blue"
            assert client.get_boolean_details("off", True, context).reason == Reason.DISABLED
            assert client.get_boolean_details("empty", True, context).reason == Reason.DEFAULT
            # "7" is the key here, although it could be an id.
            chosen, lucky = (client.get_boolean_details(key, key == "7", context) for key in ("7", "some"))
            assert (chosen.value, chosen.reason) == (False, Reason.TARGETING_MATCH)
            assert (lucky.value, lucky.reason) == (True, Reason.SPLIT)
            assert client.get_boolean_details("text", True, context).error_code == "TYPE_MISMATCH"
            assert client.get_boolean_details("unknown", True, context).error_code == "FLAG_NOT_FOUND"
            details = client.get_string_details("text", "", context)
            assert (details.reason, details.variant) == (Reason.STATIC, "blue")
            step.set()
            assert ready_again.wait(10), received
            assert ("PROVIDER_CONFIGURATION_CHANGED", ["text"]) in received
            assert client.get_string_value("text", "", context) == "green"
            for kind, handler in handlers.items():
                api.remove_handler(kind, handler)
        finally:
            step.set()
            api.clear_providers()


async def steady(peer: Peer) -> None:
    """A snapshot with numbers, and a flag that divides its entities."""
    halves = rollout(1, "halves", "on")
    halves["variants"].append({"id": 2, "flagID": 1, "key": "off", "attachment": None})
    halves["segments"][0]["distributions"] = [
        {"id": each, "segmentID": 1, "variantID": each, "variantKey": key, "percent": 50}
        for each, key in ((1, "on"), (2, "off"))
    ]
    numbers = {"underscore": "1_000", "hex": "0x10", "decimal": "3.0", "nan": "nan", "exact": "9007199254740993"}
    flags = [rollout(number, key, "v", {"value": text}) for number, (key, text) in enumerate(numbers.items(), 10)]
    await peer.open()
    await peer.greet(10)
    if peer.wants_snapshot:
        await peer.snapshot(10, halves, *flags)
    await peer.snapshots_until_gone(10, halves, *flags)


@pytest.fixture
def steady_client() -> Iterator[sync.FlagentWebSocketClient]:
    with ThreadedServer(steady) as threaded:
        client = sync.FlagentWebSocketClient(threaded.server.url("ws"), reconnect_config=QUICK)
        try:
            yield client
        finally:
            api.clear_providers()
            client.close()


@pytest.mark.parametrize("key", [None, "", " ", "\t\u00a0"])
def test_a_missing_or_blank_targeting_key_is_an_error(
    steady_client: sync.FlagentWebSocketClient, key: str | None
) -> None:
    """tc-targeting-key: without a key, a flag that divides its entities would give another variant at each call."""
    api.set_provider_and_wait(FlagentProvider(steady_client))
    client = api.get_client()
    for context in (EvaluationContext(key, {"country": "US"}), *([None] if key is None else [])):
        for flag_key in ("halves", "unknown"):
            details = client.get_boolean_details(flag_key, True, context)
            assert (details.value, details.error_code) == (True, "TARGETING_KEY_MISSING")
    assert client.get_boolean_details("halves", True, EvaluationContext("e")).error_code is None
    number: Any = 42
    assert client.get_boolean_details("halves", True, EvaluationContext(number)).error_code == "INVALID_CONTEXT"


def test_a_number_is_one_of_json_or_a_type_mismatch(steady_client: sync.FlagentWebSocketClient) -> None:
    api.set_provider_and_wait(FlagentProvider(steady_client))
    client, context = api.get_client(), EvaluationContext("e", {"price": float("nan")})
    integers = {key: client.get_integer_details(key, -1, context) for key in ("underscore", "hex", "decimal", "exact")}
    assert {key: each.value for key, each in integers.items()} == {
        "underscore": -1, "hex": -1, "decimal": 3, "exact": 9007199254740993,
    }  # fmt: skip
    assert integers["hex"].error_code == "TYPE_MISMATCH"
    floats = {key: client.get_float_details(key, -1.0, context) for key in ("underscore", "decimal", "nan", "exact")}
    assert {key: each.value for key, each in floats.items()} == {
        "underscore": -1.0, "decimal": 3.0, "nan": -1.0, "exact": -1.0,
    }  # fmt: skip
    assert {floats[key].error_code for key in ("underscore", "nan", "exact")} == {"TYPE_MISMATCH"}


def test_a_provider_may_be_replaced_and_set_again(steady_client: sync.FlagentWebSocketClient) -> None:
    """tc-provider-again: it never closes a client that was given to it, and closes one that it made."""
    made: list[sync.FlagentWebSocketClient] = []

    def make() -> sync.FlagentWebSocketClient:
        made.append(sync.FlagentWebSocketClient(steady_client._client.url, reconnect_config=QUICK))
        return made[-1]

    def fed() -> tuple[int, int]:
        """The stores of the given client, and the open clients that the other provider made."""
        return len(steady_client._client._stores), sum(not each._is_closed for each in made)

    client, context = api.get_client(), EvaluationContext("e")
    given, own = FlagentProvider(steady_client), FlagentProvider(make)
    for provider in (given, own, given, own):
        api.set_provider_and_wait(provider)
        assert client.get_integer_value("decimal", -1, context) == 3
        assert steady_client.is_connected
        # OpenFeature shuts a replaced provider down in a thread of its own: before it is set again, that must be over.
        eventually(fed, (1, 0) if provider is given else (0, 1))
    api.clear_providers()
    assert steady_client.is_connected
    assert (fed(), len(made)) == ((0, 0), 2)


def test_a_provider_may_outlive_the_client_that_was_given(steady_client: sync.FlagentWebSocketClient) -> None:
    provider = FlagentProvider(steady_client)
    api.set_provider_and_wait(provider)
    steady_client.close()
    provider.shutdown()
    with pytest.raises(ProviderFatalError, match="closed"):
        provider.initialize(EvaluationContext("e"))


def test_an_entity_id_may_be_a_whole_number(steady_client: sync.FlagentWebSocketClient) -> None:
    """tc-entity-id: it counts as its digits, whether or not the flag exists; another type is a TypeError."""
    with steady_client:
        store = sync.FlagStore(steady_client)
        store.ready(5)
        wrong: Any = [1.5, True, ["x"]]
        for key in ("halves", "unknown"):
            assert store.evaluate(key, 42).entity_id == "42"
            assert store.evaluate(key, 42).variant_key == store.evaluate(key, "42").variant_key
            for entity_id in wrong:
                with pytest.raises(TypeError, match="entity_id is a"):
                    store.evaluate(key, entity_id)


def examples() -> list[str]:
    found = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    # The scripted server has no tables; test_server.py follows one.
    return [text for text in found if "TableStore" not in text]


@pytest.mark.parametrize("number", range(len(examples())))
def test_the_examples_of_the_readme_run(
    number: int, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    with ThreadedServer(lively) as threaded:
        port = threaded.server.port
        text = examples()[number].replace("localhost:8080", f"127.0.0.1:{port}")
        text = text.replace("/tmp/flagent-cache", str(tmp_path))
        exec(compile(text, f"README example {number}", "exec"), {"__name__": "readme"})
        if "openfeature" in text:
            api.clear_providers()
    assert capsys.readouterr().out.splitlines()[0] in (
        "True",
        "None 0",
        "StoreSource.SERVER 1",  # a snapshot that came before the line was printed
        "flag_updated new_payment_flow",
    )
