"""Tokens: what verifies, and everything that must not."""

import base64
import json
import time
from pathlib import Path

import jwt
import pytest

from capsules.budgets.amounts import Amounts
from capsules.digest import sha256
from capsules.errors import AuthorityRefused, Unauthenticated
from capsules.identity.authority import Authority
from capsules.identity.records import KeyConfirmation, PrincipalClaims, TenantClaims
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import ISSUER, AccessClaims, Attestation, RefreshClaims, Tokens

ALICE = AccessClaims(tenant="acme", subject="alice", capabilities=frozenset({"run:read", "capsule:run"}), family="f1")
AUTHORITY = Authority(
    kind="start",
    tenant="acme",
    actor="alice",
    run="acme/hello/1",
    account="tenant:acme",
    capsules={"hello@1.0.0": sha256(b"hello")},
    expires_at=int(time.time()) + 86_400,
)
ATTESTATION = Attestation(
    tenant="acme",
    subject="bob",
    capabilities=frozenset({"approval:decide"}),
    purpose="approve",
    run="acme/hello/1",
    approval="ap-1",
    action=sha256(b"action"),
)


@pytest.fixture
def keyring(tmp_path: Path) -> KeyRing:
    return KeyRing.create_missing(tmp_path / "keys")


@pytest.fixture
def tokens(keyring: KeyRing) -> Tokens:
    return Tokens(keyring)


def test_each_kind_of_token_comes_back_as_it_was(tokens: Tokens) -> None:
    raise_ = ATTESTATION.model_copy(update={"purpose": "raise_budget", "amounts": Amounts(tokens=5)})
    assert tokens.verify_access(tokens.mint_access(ALICE, 60)).claims == ALICE
    assert tokens.verify(tokens.mint_authority(AUTHORITY)) == AUTHORITY
    assert tokens.verify_attestation(tokens.mint_attestation(ATTESTATION)) == ATTESTATION
    assert tokens.verify_attestation(tokens.mint_attestation(raise_)) == raise_


def test_an_expired_token_is_refused_with_the_reason(tokens: Tokens) -> None:
    old = int(time.time()) - 3600
    with pytest.raises(Unauthenticated, match="expired"):
        tokens.verify_access(tokens.mint_access(ALICE, 60, issued_at=old))
    with pytest.raises(AuthorityRefused, match="expired"):
        tokens.verify(tokens.mint_authority(AUTHORITY.model_copy(update={"expires_at": old})))
    with pytest.raises(AuthorityRefused, match="expired"):
        tokens.verify_attestation(tokens.mint_attestation(ATTESTATION, issued_at=old))


def test_a_token_of_one_audience_is_not_taken_for_another(tokens: Tokens) -> None:
    with pytest.raises(Unauthenticated, match="another use"):
        tokens.verify_access(tokens.mint_authority(AUTHORITY))
    with pytest.raises(AuthorityRefused, match="another use"):
        tokens.verify(tokens.mint_access(ALICE, 60))
    with pytest.raises(AuthorityRefused, match="another use"):
        tokens.verify_attestation(tokens.mint_authority(AUTHORITY))


def test_a_token_of_another_installation_is_refused(tokens: Tokens, tmp_path: Path) -> None:
    stranger = Tokens(KeyRing.create_missing(tmp_path / "other"))
    with pytest.raises(Unauthenticated, match="not an issuer key here"):
        tokens.verify_access(stranger.mint_access(ALICE, 60))


def test_a_forged_signature_under_our_key_id_is_refused(tokens: Tokens, keyring: KeyRing, tmp_path: Path) -> None:
    _, thief = KeyRing.create_missing(tmp_path / "other").signer("issuer")
    genuine = jwt.decode(tokens.mint_access(ALICE, 60), options={"verify_signature": False})
    forged = jwt.encode(genuine, thief, algorithm="EdDSA", headers={"kid": keyring.signer("issuer")[0]})
    with pytest.raises(Unauthenticated, match="forged or altered"):
        tokens.verify_access(forged)


def test_altered_claims_are_refused(tokens: Tokens) -> None:
    head, body, signature = tokens.mint_access(ALICE, 60).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["body"]["tenant"] = "other"
    altered = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    with pytest.raises(Unauthenticated, match="forged or altered"):
        tokens.verify_access(f"{head}.{altered}.{signature}")


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_another_algorithm_is_refused(tokens: Tokens, keyring: KeyRing, algorithm: str) -> None:
    claims = jwt.decode(tokens.mint_access(ALICE, 60), options={"verify_signature": False})
    key = "k" * 40 if algorithm == "HS256" else ""
    forged = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": keyring.signer("issuer")[0]})
    with pytest.raises(Unauthenticated, match="cannot be read"):
        tokens.verify_access(forged)


@pytest.mark.parametrize("text", ["", "abc", "a.b.c", "ü.ü.ü", "eyJhbGciOiJFZERTQSJ9.e30.AA", "x" * 9000])
def test_what_is_no_token_is_refused(tokens: Tokens, text: str) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify_access(text)
    with pytest.raises(AuthorityRefused):
        tokens.verify(text)


def test_claims_that_are_not_ours_are_refused(tokens: Tokens, keyring: KeyRing) -> None:
    key_id, key = keyring.signer("issuer")
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "somagent.access", "sub": "x", "iat": now, "exp": now + 60, "jti": "1", "body": {}}
    with pytest.raises(Unauthenticated, match="claims are not"):
        tokens.verify_access(jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": key_id}))
    del claims["jti"]
    with pytest.raises(Unauthenticated, match="jti"):
        tokens.verify_access(jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": key_id}))


def test_a_token_carries_key_id_times_and_its_own_id(tokens: Tokens, keyring: KeyRing) -> None:
    one, two = tokens.mint_access(ALICE, 60), tokens.mint_access(ALICE, 60)
    claims = [jwt.decode(t, options={"verify_signature": False}) for t in (one, two)]
    assert jwt.get_unverified_header(one)["kid"] == keyring.signer("issuer")[0]
    assert claims[0]["exp"] - claims[0]["iat"] == 60
    assert claims[0]["jti"] != claims[1]["jti"]
    assert tokens.verify_access(one).expires_at == claims[0]["exp"]


def test_an_access_token_lives_fifteen_minutes_at_most(tokens: Tokens, keyring: KeyRing) -> None:
    token = tokens.mint_access(ALICE, 90 * 86_400)
    assert tokens.verify_access(token).expires_at <= time.time() + 900
    claims = jwt.decode(token, options={"verify_signature": False})
    key_id, key = keyring.signer("issuer")
    longer = jwt.encode(claims | {"exp": claims["iat"] + 901}, key, algorithm="EdDSA", headers={"kid": key_id})
    with pytest.raises(Unauthenticated, match="more than 900 seconds"):
        tokens.verify_access(longer)


def test_a_bound_token_names_its_key_as_cnf(tokens: Tokens) -> None:
    bound = ALICE.model_copy(update={"confirmation": KeyConfirmation(jkt="j" * 43)})
    token = tokens.mint_access(bound, 60)
    assert jwt.decode(token, options={"verify_signature": False})["cnf"] == {"jkt": "j" * 43}
    assert tokens.verify_access(token).claims == bound
    certified = ALICE.model_copy(update={"confirmation": KeyConfirmation(x5t_s256="c" * 43)})
    token = tokens.mint_access(certified, 60)
    assert jwt.decode(token, options={"verify_signature": False})["cnf"] == {"x5t#S256": "c" * 43}
    assert tokens.verify_access(token).claims == certified


def test_a_refresh_token_is_no_access_token_and_the_other_way_round(tokens: Tokens) -> None:
    claims = RefreshClaims(tenant="acme", subject="alice", family="f1", generation=3)
    refresh = tokens.mint_refresh(claims, int(time.time()) + 60)
    assert tokens.verify_refresh(refresh) == claims
    with pytest.raises(Unauthenticated, match="another use"):
        tokens.verify_access(refresh)
    with pytest.raises(Unauthenticated, match="another use"):
        tokens.verify_refresh(tokens.mint_access(ALICE, 60))


def test_a_proof_holds_for_its_record_only(tokens: Tokens, tmp_path: Path) -> None:
    record = PrincipalClaims(
        tenant="acme", subject="alice", capabilities=frozenset({"run:read"}), state="active", version=2
    )
    proof = tokens.sign_record(record)
    assert tokens.holds(proof, record)
    for change in ({"capabilities": frozenset({"run:read", "capsule:run"})}, {"subject": "bob"}, {"version": 3}):
        assert not tokens.holds(proof, record.model_copy(update=change)), change
    assert not tokens.holds(proof, TenantClaims(tenant="acme", state="active", version=2))
    assert not tokens.holds(tokens.mint_access(ALICE, 60), record)
    assert not tokens.holds("", record)
    assert not tokens.holds(Tokens(KeyRing.create_missing(tmp_path / "other")).sign_record(record), record)
