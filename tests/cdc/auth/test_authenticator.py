"""Keys, tokens and stream tokens: who is believed, and who is not."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cdc.auth.api_key import ApiKey, KeyRing, new_key
from cdc.auth.authenticator import JwksSource
from cdc.auth.identity import Identity
from cdc.auth.json_web_token import JwtRules, JwtVerifier, public_key, read_jwks, secret_key
from cdc.auth.stream_token import LIFETIME_S, StreamTokenIssuer
from cdc.core.errors import InvalidInput
from cdc.core.subscription.grant import Grant
from cdc.errors import Unauthorized

# Taken when the tests are collected: what a test holds to be yet to come must outlast the whole run.
NOW = time.time()
LATER = NOW + 36_000
SECRET = "a secret of more than thirty-two bytes"
WEB = Grant(flags=frozenset({"web-*"}))
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def pem(key: Any) -> str:
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def stored(id: int = 1, **changes: Any) -> tuple[str, ApiKey]:
    made = new_key()
    values: dict[str, Any] = {"expires_at": None, "revoked_at": None, "grant": Grant(), **changes}
    return made.text, ApiKey(id, "n", made.prefix, made.hash, created_at=datetime.now(UTC), **values)


def refused(call: Any) -> str:
    with pytest.raises(Unauthorized) as caught:
        call()
    return caught.value.code


# -- API keys --------------------------------------------------------------------------------------------------------


def test_a_key_has_256_random_bits_and_only_its_hash_is_kept() -> None:
    made = new_key()
    assert made.text.startswith(made.prefix + "_")
    assert len(base64.urlsafe_b64decode(made.text.rsplit(made.prefix + "_")[1] + "=")) == 32
    assert made.hash == hashlib.sha256(made.text.encode()).digest()
    assert new_key().text != made.text


def test_a_ring_knows_its_keys_and_no_others() -> None:
    ring = KeyRing()
    text, key = stored()
    ring.replace([key])
    assert ring.identify(text, NOW).key_id == 1
    for wrong in (text[:-1] + ("A" if text[-1] != "A" else "B"), new_key().text, text + "x", "fla_cdc_", "ü" * 60):
        assert refused(lambda wrong=wrong: ring.identify(wrong, NOW)) == "invalid_credential"


def test_a_key_ends_by_revocation_and_by_time() -> None:
    ring = KeyRing()
    text, key = stored(revoked_at=datetime.now(UTC))
    short, brief = stored(2, expires_at=datetime.fromtimestamp(NOW + 10, UTC))
    ring.replace([key, brief])
    assert refused(lambda: ring.identify(text, NOW)) == "credential_revoked"
    assert ring.find(1) is None
    assert ring.identify(short, NOW).expires_at == pytest.approx(NOW + 10)
    assert refused(lambda: ring.identify(short, NOW + 11)) == "credential_expired"
    assert len(ring) == 1


def test_an_identity_outlives_a_reload_that_does_not_change_its_key() -> None:
    ring = KeyRing()
    text, key = stored()
    ring.replace([key])
    identity = ring.identify(text, NOW)
    ring.replace([key, stored(2)[1]])
    assert ring.identify(text, NOW) is identity


def test_keys_are_compared_in_constant_time_whether_known_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def spy(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return real(left, right)

    monkeypatch.setattr("cdc.auth.api_key.hmac.compare_digest", spy)
    ring = KeyRing()
    text, key = stored()
    ring.replace([key])
    ring.identify(text, NOW)
    refused(lambda: ring.identify(new_key().text, NOW))
    refused(lambda: ring.identify("no key at all", NOW))
    assert [len(left) == len(right) == 32 for left, right in compared] == [True] * 3


# -- stream tokens ---------------------------------------------------------------------------------------------------


def test_a_stream_token_carries_its_holders_rights_once_and_for_a_minute() -> None:
    desk = StreamTokenIssuer(b"s" * 32)
    holder = Identity("token of 'x'", Grant(flags=frozenset({"web-*"})), expires_at=NOW + 500)
    text, ends_at = desk.issue(holder, NOW)
    assert ends_at == NOW + LIFETIME_S
    token = desk.read(text, NOW)
    assert (token.holder.grant, token.holder.expires_at, token.holder.is_stream_token) == (
        holder.grant,
        NOW + 500,
        True,
    )
    assert desk.read(text, NOW).id == token.id  # reading is not using
    desk.use_up(token, NOW)
    assert refused(lambda: desk.read(text, NOW)) == "token_used"
    other, _ = desk.issue(holder, NOW)
    assert refused(lambda: desk.read(other, NOW + LIFETIME_S)) == "credential_expired"


def test_a_stream_token_never_outlives_the_credential_behind_it() -> None:
    assert StreamTokenIssuer(b"s" * 32).issue(Identity("x", Grant(), expires_at=NOW + 5), NOW)[1] == NOW + 5


def test_a_stream_token_that_was_altered_or_signed_elsewhere_is_refused() -> None:
    desk = StreamTokenIssuer(b"s" * 32)
    text, _ = desk.issue(Identity("x", Grant(flags=frozenset())), NOW)
    body, signature = text.split(".")
    forged = base64.urlsafe_b64encode(json.dumps({"i": "1", "e": NOW + 60, "n": "x"}).encode()).decode().rstrip("=")
    for wrong in (
        f"fla_st_{forged}.{signature}",
        body + ".",
        body,
        "fla_st_",
        text + "ü",
        StreamTokenIssuer(b"t" * 32).issue(Identity("x", Grant()), NOW)[0],
        "fla_st_" + "x" * 20_000,
    ):
        assert refused(lambda wrong=wrong: desk.read(wrong, NOW)) == "invalid_credential"


def test_a_grant_too_long_for_an_address_is_refused() -> None:
    long = Grant(flags=frozenset(f"{number:0200}" for number in range(500)))
    with pytest.raises(InvalidInput, match="too long"):
        StreamTokenIssuer(b"s" * 32).issue(Identity("x", long), NOW)


# -- JSON Web Tokens -------------------------------------------------------------------------------------------------


def claims(**changes: Any) -> dict[str, Any]:
    return {"sub": "u", "exp": LATER, "flagent_cdc": {"flags": ["web-*"]}, **changes}


@pytest.mark.parametrize(
    ("algorithm", "signing", "verifying"),
    [
        ("HS256", SECRET, secret_key(SECRET)),
        ("HS512", SECRET + SECRET, secret_key(SECRET + SECRET)),
        ("RS256", RSA_KEY, public_key(pem(RSA_KEY))),
        ("ES256", EC_KEY, public_key(pem(EC_KEY))),
    ],
)
def test_every_algorithm_gives_the_grant_of_the_claim(algorithm: str, signing: Any, verifying: Any) -> None:
    verifier = JwtVerifier(JwtRules(), [verifying])
    identity = verifier.verify(jwt.encode(claims(), signing, algorithm), NOW)
    assert identity.grant == Grant(flags=frozenset({"web-*"}))
    assert identity.expires_at == pytest.approx(LATER, abs=10)
    tampered = jwt.encode(claims(), signing, algorithm).split(".")
    tampered[1] = base64.urlsafe_b64encode(json.dumps(claims(flagent_cdc={})).encode()).decode().rstrip("=")
    assert refused(lambda: verifier.verify(".".join(tampered), NOW)) == "invalid_credential"


def unsigned(header: dict[str, Any], body: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(body).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def test_no_algorithm_and_a_confused_one_are_refused() -> None:
    verifier = JwtVerifier(JwtRules(), [public_key(pem(RSA_KEY))])
    head = f"{unsigned({'alg': 'HS256', 'typ': 'JWT'}, claims())}".rsplit(".", 1)[0]
    public_as_secret = hmac.digest(pem(RSA_KEY).encode(), head.encode(), "sha256")
    confused = head + "." + base64.urlsafe_b64encode(public_as_secret).decode().rstrip("=")
    for wrong in (
        confused,
        unsigned({"alg": "none"}, claims()),
        unsigned({"alg": "NONE"}, claims()),
        unsigned({"alg": ["RS256"]}, claims()),
        unsigned({}, claims()),
        jwt.encode(claims(), SECRET, "HS256"),
        "a.b.c",
        "..",
        "x" * 9000 + ".a.b",
    ):
        assert refused(lambda wrong=wrong: verifier.verify(wrong, NOW)) == "invalid_credential"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exp": NOW - 60}, "credential_expired"),
        ({"exp": None}, "invalid_credential"),
        ({"aud": "others"}, "invalid_credential"),
        ({"iss": "others"}, "invalid_credential"),
        ({"nbf": LATER}, "invalid_credential"),
        ({"flagent_cdc": {"flogs": []}}, "invalid_scopes"),
        ({"flagent_cdc": "everything"}, "invalid_scopes"),
    ],
)
def test_a_token_must_say_what_is_asked_for(changes: dict[str, Any], code: str) -> None:
    verifier = JwtVerifier(JwtRules(audience="flags", issuer="us"), [secret_key(SECRET)])
    right = claims(aud="flags", iss="us")
    assert verifier.verify(jwt.encode(right, SECRET, "HS256"), NOW).grant == WEB
    wrong = {name: value for name, value in {**right, **changes}.items() if value is not None}
    assert refused(lambda: verifier.verify(jwt.encode(wrong, SECRET, "HS256"), NOW)) == code


def test_a_token_without_scopes_gets_the_default_ones_or_nothing() -> None:
    text = jwt.encode({"exp": LATER}, SECRET, "HS256")
    assert refused(lambda: JwtVerifier(JwtRules(), [secret_key(SECRET)]).verify(text, NOW)) == "no_scopes"
    rules = JwtRules(default_scopes=Grant(evaluate=False))
    assert JwtVerifier(rules, [secret_key(SECRET)]).verify(text, NOW).grant == Grant(evaluate=False)


def test_a_remembered_token_still_ends() -> None:
    verifier = JwtVerifier(JwtRules(), [secret_key(SECRET)])
    text = jwt.encode(claims(), SECRET, "HS256")
    assert verifier.verify(text, NOW) is verifier.verify(text, NOW)
    assert refused(lambda: verifier.verify(text, LATER + 100)) == "credential_expired"


def jwk(key: Any, algorithm: str, **fields: Any) -> dict[str, Any]:
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return {**dict(made), **fields}


def test_published_keys_are_found_by_their_id_and_an_unknown_id_asks_for_new_ones() -> None:
    verifier = JwtVerifier(JwtRules())
    verifier.use(read_jwks({"keys": [jwk(RSA_KEY, "RS256", kid="one"), jwk(EC_KEY, "ES256", kid="two")]}))
    for signing, algorithm, kid in ((RSA_KEY, "RS256", "one"), (EC_KEY, "ES256", "two")):
        assert verifier.verify(jwt.encode(claims(), signing, algorithm, {"kid": kid}), NOW).grant == WEB
    assert not verifier.misses_key
    stranger = jwt.encode(claims(), RSA_KEY, "RS256", {"kid": "three"})
    assert refused(lambda: verifier.verify(stranger, NOW)) == "invalid_credential"
    assert verifier.misses_key
    verifier.use(read_jwks({"keys": [jwk(RSA_KEY, "RS256", kid="three")]}))
    assert verifier.verify(stranger, NOW).grant == WEB


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"keys": []},
        {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "one"}]},
        {"keys": [{"kty": "RSA"}]},
        {"keys": [jwk(rsa.generate_private_key(65537, 1024), "RS256")]},
        {"keys": [jwk(RSA_KEY, "RS256", use="enc")]},
        {"keys": [jwk(RSA_KEY, "RS256", alg="RS512")]},
    ],
)
def test_a_key_set_without_a_usable_key_is_refused(document: object) -> None:
    with pytest.raises(ValueError):
        read_jwks(document)


@pytest.mark.parametrize("length", [None, 2_000_000])
async def test_a_key_set_is_read_from_an_address_within_bounds(length: int | None) -> None:
    body = json.dumps({"keys": [jwk(EC_KEY, "ES256", kid="two")]}).encode().ljust(length or 0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body))
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as site:
        source = JwksSource(f"http://127.0.0.1:{site.sockets[0].getsockname()[1]}/jwks")
        if length is None:
            assert [key.id for key in await source.read()] == ["two"]
        else:
            with pytest.raises(ValueError, match="larger than"):
                await source.read()
    with pytest.raises(httpx2.HTTPError):
        await source.read()


async def test_a_key_set_is_read_from_a_file(tmp_path: Path) -> None:
    place = tmp_path / "jwks.json"
    place.write_text(json.dumps({"keys": [jwk(EC_KEY, "ES256", kid="two")]}))
    assert [key.id for key in await JwksSource(str(place)).read()] == ["two"]
