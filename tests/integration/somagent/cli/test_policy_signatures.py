"""`somagent policy sign`, run as a person runs it, on real key files."""

import json
from pathlib import Path

import pytest
import yaml
from client_cli import CommandResult, somagent
from constitutions import default

from capsules.constitutions.constitution import ConstitutionRecord, ConstitutionSignature
from somagent.identity.keys import KeyRing
from somagent.identity.signatures import verify_constitution
from somagent.local_stack.bootstrap import sign_constitution
from somagent.settings import Settings

pytestmark = pytest.mark.timeout(60)


def sign(*words: object) -> CommandResult:
    return somagent("policy", "sign", *map(str, words), settings=Settings())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(default("1.2.3")))
    return path


def record(ring: KeyRing, file: Path) -> ConstitutionRecord:
    kept = json.loads(file.with_name("mine.yaml.sig.json").read_text())
    signatures = tuple(ConstitutionSignature.model_validate(one) for one in kept["signatures"])
    return sign_constitution(ring, yaml.safe_load(file.read_text())).model_copy(update={"signatures": signatures})


def test_two_people_sign_one_file_with_their_own_keys(file: Path, tmp_path: Path) -> None:
    rings = [KeyRing.create_missing(tmp_path / name) for name in ("ada", "bob")]
    for name in ("ada", "bob", "ada"):
        done = sign(file, "--keys", tmp_path / name, "--json")
        assert done.code == 0, done.err
    assert len(json.loads(done.out)["signatures"]) == 2
    for ring in rings:
        assert verify_constitution(ring, record(ring, file)) == (ring.signer("constitution")[0],)


def test_signatures_for_an_older_text_are_not_mixed_with_new_ones(file: Path, tmp_path: Path) -> None:
    KeyRing.create_missing(tmp_path / "ada")
    assert sign(file, "--keys", tmp_path / "ada").code == 0
    file.write_text(yaml.safe_dump(default("1.2.4")))
    done = sign(file, "--keys", tmp_path / "ada")
    assert done.code == 9
    assert "everybody signs again" in done.err


def test_a_directory_without_a_constitution_key_is_named(file: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir(mode=0o700)
    done = sign(file, "--keys", tmp_path / "none")
    assert done.code == 8
    assert "no private 'constitution' key" in done.err
    assert not file.with_name("mine.yaml.sig.json").exists()


def test_an_overlay_is_signed_as_what_it_makes_of_its_base(file: Path, tmp_path: Path) -> None:
    ring = KeyRing.create_missing(tmp_path / "ada")
    overlay = tmp_path / "narrow.yaml"
    article = {"id": "nothing-open", "forbid": "action.egress == 'open'", "because": "Nothing goes anywhere."}
    written = {"apiVersion": "somagent/v1", "kind": "Overlay", "base": "default", "articles": [article]}
    overlay.write_text(yaml.safe_dump(written | {"metadata": {"name": "narrow", "version": "1.0.0"}}))
    done = sign(overlay, "--base", file, "--keys", tmp_path / "ada", "--json")
    assert done.code == 0, done.err
    made = json.loads(done.out)
    document = default("1.2.3")
    document["articles"] = [*document["articles"], article]
    document["metadata"]["overlays"] = ["narrow@1.0.0"]
    expected = sign_constitution(ring, document)
    assert made["digest"] == expected.digest
    assert made["signatures"] == [one.model_dump() for one in expected.signatures]
