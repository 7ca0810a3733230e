"""Logging in to NATS in every way that it knows, with TLS and without, and what a bad setting is told."""

import base64
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats.errors
import nkeys
import pytest

from cdc.errors import NatsUnavailable
from cdc.jetstream.address import NatsAddress
from cdc.jetstream.connection import connect as nats_connect
from tests.fixtures.flags import Writer
from tests.fixtures.nats import active, nats_client, relaying, run_nats
from tests.fixtures.server import serving, sse, until
from tests.fixtures.settings import settings_with

pytestmark = pytest.mark.timeout(90)

SECRET = "very-secret-word"

QUICK: dict[str, Any] = {"listener_probe_interval_s": 0.5}


class Signer:
    """An nkey of the given kind."""

    def __init__(self, kind: int) -> None:
        self.seed = nkeys.encode_seed(os.urandom(32), kind)
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.public = self._pair.public_key.decode()

    def jwt(self, subject: str, name: str, nats: dict[str, Any]) -> str:
        """A claim about `subject`, as NATS's operators, accounts and users have them (nats-io/jwt, version 2)."""
        claim: dict[str, Any] = {"iat": int(time.time()), "iss": self.public, "name": name, "sub": subject}
        claim["nats"] = {**nats, "version": 2}
        digest = hashlib.new("sha512_256", json.dumps(claim).encode()).digest()
        claim["jti"] = base64.b32encode(digest).decode().rstrip("=")
        head = _base64(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
        body = f"{head}.{_base64(json.dumps(claim).encode())}"
        return f"{body}.{_base64(self._pair.sign(body.encode()))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def by_user(_: Path) -> tuple[str, str, dict[str, Any]]:
    return f'authorization {{ user: ann, password: "{SECRET}" }}', "", {"nats_user": "ann", "nats_password": SECRET}


def by_address(_: Path) -> tuple[str, str, dict[str, Any]]:
    return f'authorization {{ user: ann, password: "{SECRET}" }}', f"ann:{SECRET}@", {}


def by_token(_: Path) -> tuple[str, str, dict[str, Any]]:
    return f'authorization {{ token: "{SECRET}" }}', "", {"nats_token": SECRET}


def by_nkey(directory: Path) -> tuple[str, str, dict[str, Any]]:
    user = Signer(nkeys.PREFIX_BYTE_USER)
    seed = directory / "user.nk"
    seed.write_bytes(bytes(user.seed))
    return f"authorization {{ users: [{{ nkey: {user.public} }}] }}", "", {"nats_nkey": seed}


def by_credentials(directory: Path) -> tuple[str, str, dict[str, Any]]:
    operator, account, system, user = (
        Signer(kind)
        for kind in (
            nkeys.PREFIX_BYTE_OPERATOR,
            nkeys.PREFIX_BYTE_ACCOUNT,
            nkeys.PREFIX_BYTE_ACCOUNT,
            nkeys.PREFIX_BYTE_USER,
        )
    )
    none = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
    accounts = {
        account.public: operator.jwt(
            account.public, "app", {"type": "account", "limits": {**none, "wildcards": True, **storage}}
        ),
        system.public: operator.jwt(system.public, "sys", {"type": "account", "limits": {**none, "wildcards": True}}),
    }
    known = "\n".join(f"  {name}: {jwt}" for name, jwt in accounts.items())
    own = operator.jwt(operator.public, "op", {"type": "operator", "system_account": system.public})
    config = f"operator: {own}\nsystem_account: {system.public}\nresolver: MEMORY\nresolver_preload: {{\n{known}\n}}"
    claim = account.jwt(user.public, "ann", {"type": "user", "subs": -1, "data": -1, "payload": -1})
    file = directory / "user.creds"
    file.write_text(
        f"-----BEGIN NATS USER JWT-----\n{claim}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{bytes(user.seed).decode()}\n------END USER NKEY SEED------\n"
    )
    return config, "", {"nats_credentials": file}


def certificate(directory: Path) -> tuple[Path, Path]:
    """One that vouches for itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("a certificate is made with openssl")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
        " -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    )
    subprocess.run(shlex.split(command), cwd=directory, check=True, capture_output=True)
    return directory / "cert.pem", directory / "key.pem"


def by_certificate(directory: Path) -> tuple[str, str, dict[str, Any]]:
    cert, key = certificate(directory)
    config = f'tls {{ cert_file: "{cert}", key_file: "{key}", ca_file: "{cert}", verify: true }}'
    return config, "", {"nats_tls_ca": cert, "nats_tls_cert": cert, "nats_tls_key": key}


@pytest.mark.parametrize("way", [by_user, by_address, by_token, by_nkey, by_credentials, by_certificate])
async def test_relays_and_nodes_log_in(
    way: Callable[[Path], tuple[str, str, dict[str, Any]]], database_url: str, tmp_path: Path
) -> None:
    config, login, settings = way(tmp_path)
    with run_nats(tmp_path, config) as server:
        url = f"nats://{login}127.0.0.1:{server.port}"
        async with (
            relaying(database_url, url, **settings) as relay,
            serving(None, nats_source=url, **settings, **QUICK) as node,
            sse(node.stream_url) as stream,
        ):
            await active(relay)
            with Writer(database_url) as writer:
                writer.flag("a")
            assert (await stream.next()).data["key"] == "a"


@pytest.mark.parametrize("scheme", ["nats", "tls"])
async def test_a_server_that_nobody_vouches_for_is_told_no_secret(tmp_path: Path, scheme: str) -> None:
    for name in ("server", "other"):
        (tmp_path / name).mkdir()
    cert, key = certificate(tmp_path / "server")
    other, _ = certificate(tmp_path / "other")
    config = f'tls {{ cert_file: "{cert}", key_file: "{key}" }}\nauthorization {{ user: ann, password: "{SECRET}" }}'
    with run_nats(tmp_path, config) as server:
        login = {"nats_user": "ann", "nats_password": SECRET}
        url = f"{scheme}://127.0.0.1:{server.port}"
        trusting = NatsAddress.of(settings_with(**login, nats_tls_ca=cert), url, name="x")
        await until(lambda: "Server is ready" in server.log(), "NATS's start")
        await (await nats_connect(trusting, "test")).close()
        # With its own certificate authority, and as `tls://` asks, with those of the system.
        for trusted in (other, None) if scheme == "tls" else (other,):
            address = NatsAddress.of(settings_with(**login, nats_tls_ca=trusted), url, name="x")
            with pytest.raises(NatsUnavailable, match="certificate verify failed"):
                await nats_connect(address, "test")


async def test_the_rights_of_the_manual_are_enough_and_let_no_node_write(database_url: str, tmp_path: Path) -> None:
    manual = (Path(__file__).parents[3] / "docs" / "how-to" / "grow-with-nats.md").read_text(encoding="utf-8")
    config = manual[manual.index("authorization {") :].partition("```")[0]
    for name in ("NODE", "RELAY"):
        config = config.replace(f"${name}_PASSWORD", f'"{SECRET}"')
    with run_nats(tmp_path, config) as server:
        place = f"{SECRET}@127.0.0.1:{server.port}"
        async with (
            relaying(database_url, f"nats://relay:{place}") as relay,
            serving(None, nats_source=f"nats://node:{place}", **QUICK) as node,
            sse(node.stream_url) as stream,
            nats_client(f"nats://node:{place}") as client,
        ):
            await active(relay)
            with Writer(database_url) as writer:
                writer.flag("a")
                assert (await stream.next()).data["key"] == "a"
                jetstream = client.jetstream(timeout=1)
                for forbidden in (
                    jetstream.publish("flagent_cdc.change.public.flags", b"forged"),
                    jetstream.purge_stream("flagent_cdc"),
                    jetstream.delete_stream("flagent_cdc"),
                ):
                    with pytest.raises((nats.errors.Error, TimeoutError)):
                        await forbidden
                writer.flag("b")
                assert (await stream.next()).data["key"] == "b"


@pytest.mark.parametrize(
    ("config", "url", "settings"),
    [
        ('authorization { user: ann, password: "right" }', f"nats://ann:{SECRET}@127.0.0.1:{{port}}", {}),
        ('authorization { token: "right" }', "nats://127.0.0.1:{port}", {"FLAGENT_CDC_NATS_TOKEN": SECRET}),
    ],
    ids=["password", "token"],
)
def test_a_wrong_login_ends_the_relay_and_is_never_shown(
    config: str, url: str, settings: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    with run_nats(tmp_path, config) as server:
        environment = {
            **os.environ,
            **settings,
            "FLAGENT_CDC_DATABASE_URL": database_url,
            "FLAGENT_CDC_LOG_LEVEL": "debug",
        }
        ended = subprocess.run(
            [sys.executable, "-m", "cdc", "relay", "--nats", url.format(port=server.port)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ended.returncode == 2
    assert f"nats://127.0.0.1:{server.port} refuses the login" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert SECRET not in ended.stderr + ended.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["relay", "--database-url", "postgresql://h/d"], "no NATS server: pass --nats"),
        (["relay", "--nats", "nats://h"], "no database: pass"),
        (["relay", "--nats", "ftp://h", "--database-url", "postgresql://h/d"], "must be nats://"),
        (["serve", "--source", "h"], "must be nats://"),
        (["relay", "--replicas", "2"], "must be 1, 3 or 5"),
        (["relay", "--nats-stream", "a.b"], "must be a name"),
    ],
)
def test_bad_options_are_one_sentence(arguments: list[str], words: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLAGENT_")}
    ended = subprocess.run(
        [sys.executable, "-m", "cdc", *arguments], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1
