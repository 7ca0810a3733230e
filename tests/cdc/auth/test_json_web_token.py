"""JSON Web Tokens: which algorithms, keys and claims are accepted."""

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cdc.auth.json_web_token import JwtRules, JwtVerifier, public_key, read_jwks, secret_key
from cdc.core.subscription.grant import Grant
from tests.fixtures.credentials import rejection

# Taken when the tests are collected: a time in the future must stay in the future for the whole run.
NOW = time.time()
LATER = NOW + 36_000
SECRET = "a secret of more than thirty-two bytes"
WEB = Grant(flags=frozenset({"web-*"}))
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def pem(key: Any) -> str:
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


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
    assert rejection(lambda: verifier.verify(".".join(tampered), NOW)) == "invalid_credential"


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
        assert rejection(lambda wrong=wrong: verifier.verify(wrong, NOW)) == "invalid_credential"


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
def test_a_token_must_have_the_required_claims(changes: dict[str, Any], code: str) -> None:
    verifier = JwtVerifier(JwtRules(audience="flags", issuer="us"), [secret_key(SECRET)])
    right = claims(aud="flags", iss="us")
    assert verifier.verify(jwt.encode(right, SECRET, "HS256"), NOW).grant == WEB
    wrong = {name: value for name, value in {**right, **changes}.items() if value is not None}
    assert rejection(lambda: verifier.verify(jwt.encode(wrong, SECRET, "HS256"), NOW)) == code


def test_a_token_without_scopes_gets_the_default_ones_or_nothing() -> None:
    text = jwt.encode({"exp": LATER}, SECRET, "HS256")
    assert rejection(lambda: JwtVerifier(JwtRules(), [secret_key(SECRET)]).verify(text, NOW)) == "no_scopes"
    rules = JwtRules(default_scopes=Grant(evaluate=False))
    assert JwtVerifier(rules, [secret_key(SECRET)]).verify(text, NOW).grant == Grant(evaluate=False)


def test_a_remembered_token_still_ends() -> None:
    verifier = JwtVerifier(JwtRules(), [secret_key(SECRET)])
    text = jwt.encode(claims(), SECRET, "HS256")
    assert verifier.verify(text, NOW) is verifier.verify(text, NOW)
    assert rejection(lambda: verifier.verify(text, LATER + 100)) == "credential_expired"


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
    assert rejection(lambda: verifier.verify(stranger, NOW)) == "invalid_credential"
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
