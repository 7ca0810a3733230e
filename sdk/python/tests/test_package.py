"""The package as a whole: its public names, what it imports, TLS."""

from __future__ import annotations

import ast
import asyncio
import gc
import pathlib
import shutil
import ssl
import subprocess

import pytest
from scripted import Peer, ScriptedServer

import flagent_realtime
from flagent_realtime import (
    ConnectionLost,
    FlagentSSEClient,
    FlagentWebSocketClient,
    FlagStore,
    ReconnectConfig,
    ReconnectExhausted,
)

PACKAGE = pathlib.Path(flagent_realtime.__file__).parent


def imported(path: pathlib.Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_public_names_are_these() -> None:
    assert flagent_realtime.__all__ == [
        "AmbiguousFlag",
        "ChangeKind",
        "ClientClosed",
        "ConnectionLost",
        "ConnectionRefused",
        "Constraint",
        "Distribution",
        "EvaluationResult",
        "EventType",
        "Exposure",
        "ExposureReporter",
        "FilePersistence",
        "Flag",
        "FlagChange",
        "FlagStore",
        "FlagentClient",
        "FlagentError",
        "FlagentEvent",
        "FlagentSSEClient",
        "FlagentWebSocketClient",
        "ForkedClient",
        "HandlerFailed",
        "IgnoredFlags",
        "MalformedMessage",
        "NotReady",
        "Persistence",
        "PersistenceFailed",
        "ReconnectConfig",
        "ReconnectExhausted",
        "ReducedFlag",
        "RequestFailed",
        "RequestTimeout",
        "RowChange",
        "Segment",
        "StoreSource",
        "StoreStatus",
        "Subscription",
        "TableStore",
        "Tag",
        "TransportName",
        "Variant",
        "WrongEventLoop",
    ]
    assert all(hasattr(flagent_realtime, name) for name in flagent_realtime.__all__)


def test_the_sdk_imports_neither_the_server_nor_more_than_it_declares() -> None:
    third = set().union(*(imported(path) for path in PACKAGE.glob("*.py"))) - set(__import__("sys").stdlib_module_names)
    assert third - {"sre_constants", "sre_parse"} == {"httpx", "websockets", "openfeature"}
    others = [path for path in PACKAGE.glob("*.py") if "openfeature" in imported(path)]
    assert [path.name for path in others] == ["openfeature.py"]


def test_the_core_imports_no_input_or_output() -> None:
    for name in (
        "_sse_parser",
        "_backoff",
        "_store_core",
        "_flag_table",
        "_digest_check",
        "_digest",
        "_event_id",
        "_policy",
        "_liveness",
        "_selection",
        "_regex",
        "_keep_alive",
    ):
        assert imported(PACKAGE / f"{name}.py").isdisjoint(
            {"asyncio", "httpx", "websockets", "socket", "time", "random", "threading"}
        ), name


def test_modules_form_layers_without_circles(capsys: pytest.CaptureFixture[str]) -> None:
    """The contracts of pyproject.toml. They count imports for types too, and they name every module."""
    cli = pytest.importorskip("importlinter.cli", reason="import-linter is not installed")
    status = cli.lint_imports(config_filename=str(PACKAGE.parent / "pyproject.toml"), no_cache=True)
    assert status == 0, capsys.readouterr().out


@pytest.mark.skipif(shutil.which("openssl") is None, reason="a certificate is made with openssl")
@pytest.mark.filterwarnings(
    "ignore:unclosed transport:ResourceWarning"
)  # asyncio of Python 3.10, after a failed handshake
@pytest.mark.parametrize("transport", ["sse", "ws"])
async def test_over_tls_a_certificate_is_checked(transport: str, tmp_path: pathlib.Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run([*command.split(), "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate, key)

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        await peer.snapshot(10)
        await peer.gone()

    async with ScriptedServer(script) as plain:
        server = await asyncio.start_server(plain._play, "127.0.0.1", 0, ssl=served)
        port = server.sockets[0].getsockname()[1]
        make = FlagentWebSocketClient if transport == "ws" else FlagentSSEClient
        url = f"{'wss' if transport == 'ws' else 'https'}://localhost:{port}/stream"
        try:
            async with make(url, ssl_context=ssl.create_default_context(cafile=certificate)) as client:
                await FlagStore(client).ready(10)
            async with make(url, reconnect_config=ReconnectConfig(max_attempts=1, initial_delay=0.01)) as client:
                with pytest.raises(ReconnectExhausted) as exhausted:
                    await FlagStore(client).ready(10)
                assert isinstance(exhausted.value.__cause__, ConnectionLost)
                assert "cannot connect" in str(exhausted.value.__cause__)
        finally:
            server.close()
            await asyncio.sleep(0)
            gc.collect()
