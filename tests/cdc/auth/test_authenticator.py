"""The credentials of one process: which are accepted, when they end, and how keys stay current."""

import asyncio
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from cdc.auth.api_key import ApiKey, new_key
from cdc.auth.authenticator import Authenticator
from cdc.auth.json_web_token import JwtRules, JwtVerifier, secret_key
from cdc.auth.jwks_source import JwksSource
from cdc.auth.stream_token import TokenSecret
from cdc.auth.stream_token_claims import StreamTokenLimits
from cdc.core.subscription.grant import Grant
from cdc.errors import DatabaseUnavailable, Unauthorized
from cdc.source.memory import MemoryLog
from tests.cdc.auth.test_json_web_token import jwk
from tests.fixtures.credentials import rejection
from tests.fixtures.logged import actions
from tests.fixtures.server import until

SECRET = "a secret of more than thirty-two bytes"
WEB = Grant(flags=frozenset({"web-*"}))


class Clock:
    """The time in seconds since the epoch; a test sets it forward."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class Scene:
    """An authenticator on the keys of a source in memory."""

    def __init__(self, verifier: JwtVerifier | None = None, **options: Any) -> None:
        self.log = MemoryLog()
        self.clock = Clock()
        self.authenticator = Authenticator(self.log.key_store(), verifier, now=self.clock, **options)

    def add_key(self, **changes: Any) -> str:
        made = new_key()
        values: dict[str, Any] = {"grant": WEB, "expires_at": None, "revoked_at": None, **changes}
        id = len(self.log.keys) + 1
        self.log.keys.append(ApiKey(id, "web", made.prefix, made.hash, created_at=datetime.now(UTC), **values))
        return made.text

    def change_key(self, **changes: Any) -> None:
        """Change the newest key, as its owner does by SQL."""
        key = self.log.keys.pop()
        values = {name: getattr(key, name) for name in ApiKey.__slots__}
        self.log.keys.append(ApiKey(**{**values, **changes}))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.auth.authenticator._RELOAD_S", 0.01)


def token(**claims: Any) -> str:
    return jwt.encode({"sub": "u", "exp": time.time() + 600, "flagent_cdc": {}, **claims}, SECRET, "HS256")


async def test_a_key_is_accepted_and_nothing_else_without_a_verifier() -> None:
    scene = Scene()
    text = scene.add_key()
    assert not scene.authenticator.is_loaded
    async with scene.authenticator.running():
        assert scene.authenticator.is_loaded
        assert scene.authenticator.identify(text).grant == WEB
        for other in (token(), "", "x", "fla_cdc_"):
            assert rejection(lambda other=other: scene.authenticator.identify(other)) == "invalid_credential"


async def test_a_json_web_token_is_verified_where_there_is_a_verifier() -> None:
    scene = Scene(JwtVerifier(JwtRules(), [secret_key(SECRET)]))
    async with scene.authenticator.running():
        assert scene.authenticator.identify(token()).name == "token of 'u'"
        assert rejection(lambda: scene.authenticator.identify("a.b")) == "invalid_credential"


@pytest.mark.usefixtures("quick")
async def test_a_new_key_and_a_revocation_are_noticed_while_it_runs() -> None:
    scene = Scene()
    async with scene.authenticator.running():
        text = scene.add_key()

        def is_accepted() -> bool:
            try:
                scene.authenticator.identify(text)
            except Unauthorized:
                return False
            return True

        await until(is_accepted, "the key's being read")
        identity = scene.authenticator.identify(text)
        assert scene.authenticator.why_ended(identity) is None
        scene.change_key(revoked_at=datetime.now(UTC))
        await until(lambda: not is_accepted(), "the revocation")
        assert rejection(lambda: scene.authenticator.identify(text)) == "credential_revoked"
        ended = scene.authenticator.why_ended(identity)
        assert ended is not None
        assert ended.code == "credential_revoked"


@pytest.mark.usefixtures("quick")
async def test_a_key_whose_rights_were_changed_ends_what_was_opened_with_it() -> None:
    scene = Scene()
    text = scene.add_key()
    async with scene.authenticator.running():
        before = scene.authenticator.identify(text)
        scene.change_key(grant=Grant(flags=frozenset({"other"})))
        await until(lambda: scene.authenticator.identify(text).grant != WEB, "the change")
        ended = scene.authenticator.why_ended(before)
        assert ended is not None
        assert ended.code == "credential_changed"


@pytest.mark.usefixtures("quick")
async def test_while_the_keys_cannot_be_read_the_last_known_ones_are_used(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    scene = Scene()
    text = scene.add_key()
    async with scene.authenticator.running():
        scene.log.error = DatabaseUnavailable("away")
        await until(lambda: "api_keys_failed" in actions(caplog), "the failure")
        await asyncio.sleep(0.05)
        assert actions(caplog).count("api_keys_failed") == 1, "a failure is logged once"
        assert scene.authenticator.identify(text).grant == WEB
        later = scene.add_key()
        scene.log.error = None
        await until(lambda: actions(caplog).count("api_keys_read") == 2, "the return")
        assert scene.authenticator.identify(later).grant == WEB


async def test_a_server_that_has_never_read_the_keys_accepts_nothing() -> None:
    scene = Scene()
    text = scene.add_key()
    scene.log.error = DatabaseUnavailable("away")
    async with scene.authenticator.running():
        assert not scene.authenticator.is_loaded
        assert rejection(lambda: scene.authenticator.identify(text)) == "invalid_credential"
        assert rejection(lambda: scene.authenticator.read_stream_token("fla_st_x.y")) == "invalid_credential"


@pytest.mark.parametrize(("verifier", "warnings"), [(None, 1), (JwtVerifier(JwtRules(), [secret_key(SECRET)]), 0)])
async def test_a_server_that_can_accept_no_credential_says_so(
    verifier: JwtVerifier | None, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with Scene(verifier).authenticator.running():
        assert actions(caplog).count("api_keys_missing") == warnings


async def test_a_stream_token_opens_one_stream_with_the_rights_of_its_key() -> None:
    scene = Scene()
    text = scene.add_key()
    async with scene.authenticator.running():
        issued, ends_at = scene.authenticator.issue_stream_token(scene.authenticator.identify(text))
        assert ends_at == scene.clock.now + 60
        read = scene.authenticator.read_stream_token(issued)
        assert (read.holder.grant, read.holder.key_id, read.holder.is_stream_token) == (WEB, 1, True)
        scene.authenticator.use_up(read)
        assert rejection(lambda: scene.authenticator.read_stream_token(issued)) == "token_used"


@pytest.mark.usefixtures("quick")
async def test_a_stream_token_ends_with_its_key() -> None:
    scene = Scene()
    text = scene.add_key()
    async with scene.authenticator.running():
        issued, _ = scene.authenticator.issue_stream_token(scene.authenticator.identify(text))
        scene.change_key(revoked_at=datetime.now(UTC))

        def refusal() -> str | None:
            try:
                scene.authenticator.read_stream_token(issued)
            except Unauthorized as error:
                return error.code
            return None

        await until(lambda: refusal() == "credential_revoked", "the revocation")


@pytest.mark.usefixtures("quick")
async def test_a_narrowed_token_is_compared_with_the_whole_grant_of_its_key() -> None:
    scene = Scene()
    text = scene.add_key()
    narrow = StreamTokenLimits(Grant(flags=frozenset({"web-a", "mobile"})))
    async with scene.authenticator.running():
        issued, _ = scene.authenticator.issue_stream_token(scene.authenticator.identify(text), narrow)
        holder = scene.authenticator.read_stream_token(issued).holder
        assert holder.grant == Grant(flags=frozenset({"web-a"}), tables=frozenset())
        assert scene.authenticator.why_ended(holder) is None
        scene.change_key(grant=Grant(flags=frozenset({"mobile"})))

        def change() -> str | None:
            ended = scene.authenticator.why_ended(holder)
            return None if ended is None else ended.code

        await until(lambda: change() == "credential_changed", "the change")
        # The scopes of the token narrow what the key allows now.
        holder = scene.authenticator.read_stream_token(issued).holder
        assert holder.grant == Grant(flags=frozenset({"mobile"}), tables=frozenset())


@pytest.mark.usefixtures("quick")
async def test_a_rotation_is_noticed_and_used_tokens_stay_used(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    scene = Scene()
    text = scene.add_key()
    async with scene.authenticator.running():
        identity = scene.authenticator.identify(text)
        used, unused = (scene.authenticator.issue_stream_token(identity)[0] for _ in range(2))
        scene.authenticator.use_up(scene.authenticator.read_stream_token(used))
        scene.log.token_secrets.append(TokenSecret(2, b"n" * 32, scene.clock.now))
        await until(lambda: "token_secret_rotated" in actions(caplog), "the rotation")
        assert rejection(lambda: scene.authenticator.read_stream_token(used)) == "token_used"
        scene.authenticator.read_stream_token(unused)
        assert actions(caplog).count("token_secret_rotated") == 1, "the first secret is no rotation"


@pytest.mark.usefixtures("quick")
async def test_uses_and_refusals_are_recorded_off_the_request_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("cdc.auth.authenticator._RECORD_S", 0.01)
    scene = Scene()
    text, expired = scene.add_key(), scene.add_key(expires_at=datetime.fromtimestamp(0, UTC))
    async with scene.authenticator.running():
        scene.authenticator.identify(text)
        await until(lambda: scene.log.used_keys == {1}, "the use")
        scene.log.error = DatabaseUnavailable("away")
        for _ in range(3):
            rejection(lambda: scene.authenticator.identify(expired))
        await until(lambda: "key_use_failed" in actions(caplog), "the failure")
        assert not scene.log.refused_keys
        scene.log.error = None
        await until(lambda: bool(scene.log.refused_keys), "the record")
        monkeypatch.setattr("cdc.auth.authenticator._RECORD_S", 60)
        rejection(lambda: scene.authenticator.identify("fla_cdc_aaaaaaaa_" + "x" * 43))
    assert scene.log.refused_keys == {
        (expired[:16], "expired"): 3,
        ("fla_cdc_aaaaaaaa", "unknown"): 1,
    }
    assert actions(caplog).count("api_key_first_used") == 1
    assert actions(caplog).count("key_use_failed") == 1
    assert text[16:] not in caplog.text


async def test_an_open_stream_keeps_its_key_in_use() -> None:
    scene = Scene()
    text = scene.add_key()
    async with scene.authenticator.running():
        identity = scene.authenticator.identify(text)
        assert scene.authenticator.why_ended(identity) is None
    assert scene.log.used_keys == {1}
    scene.log.used_keys = frozenset()
    async with scene.authenticator.running():
        assert scene.authenticator.why_ended(identity) is None
    assert scene.log.used_keys == {1}


async def test_a_credential_ends_at_its_time() -> None:
    scene = Scene()
    expires_at = datetime.fromtimestamp(scene.clock.now + 30, UTC)
    text = scene.add_key(expires_at=expires_at)
    async with scene.authenticator.running():
        identity = scene.authenticator.identify(text)
        issued, ends_at = scene.authenticator.issue_stream_token(identity)
        assert ends_at == pytest.approx(scene.clock.now + 30)
        scene.clock.now += 31
        ended = scene.authenticator.why_ended(identity)
        assert ended is not None
        assert ended.code == "credential_expired"
        assert rejection(lambda: scene.authenticator.identify(text)) == "credential_expired"
        assert rejection(lambda: scene.authenticator.read_stream_token(issued)) == "credential_expired"


@pytest.mark.usefixtures("quick")
async def test_published_keys_are_read_again_when_a_token_names_an_unknown_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.auth.authenticator._JWKS_PAUSE_S", 0.01)
    first, second = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    place = tmp_path / "jwks.json"
    place.write_text(json.dumps({"keys": [jwk(first, "ES256", kid="one")]}))
    own = secret_key(SECRET)
    scene = Scene(JwtVerifier(JwtRules(), [own]), jwks=JwksSource(str(place)), own_keys=[own])

    def signed(key: ec.EllipticCurvePrivateKey, kid: str) -> str:
        claims = {"sub": "u", "exp": time.time() + 600, "flagent_cdc": {}}
        return jwt.encode(claims, key, "ES256", headers={"kid": kid})

    def is_accepted(text: str) -> bool:
        try:
            scene.authenticator.identify(text)
        except Unauthorized:
            return False
        return True

    async with scene.authenticator.running():
        assert is_accepted(signed(first, "one"))
        assert is_accepted(token()), "the server's own key stays beside the published ones"
        place.write_text(json.dumps({"keys": [jwk(second, "ES256", kid="two")]}))
        await until(lambda: is_accepted(signed(second, "two")), "the rotation")
        assert not is_accepted(signed(first, "one"))


@pytest.mark.usefixtures("quick")
async def test_published_keys_that_cannot_be_read_are_logged_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("cdc.auth.authenticator._JWKS_PAUSE_S", 0.01)
    place = tmp_path / "jwks.json"
    place.write_text("no JSON")
    scene = Scene(JwtVerifier(JwtRules()), jwks=JwksSource(str(place)))
    async with scene.authenticator.running():
        assert "jwks_failed" in actions(caplog)
        place.write_text(json.dumps({"keys": [jwk(ec.generate_private_key(ec.SECP256R1()), "ES256", kid="one")]}))
        await until(lambda: "jwks_read" in actions(caplog), "the next attempt")
