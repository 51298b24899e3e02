"""`somagent policy` on files, without any server: check, prove, diff, explain."""

import json
from pathlib import Path

import pytest
import yaml
from client_cli import CommandResult, somagent
from servers import settings_in, temporary_home
from sources import ROOT

from somagent.capsule_files.library import Library
from somagent.cli.exit_codes import Code
from somagent.settings import Settings

SHIPPED = ROOT / "capsules" / "library" / "constitutions"
DEFAULT = SHIPPED / "default.yaml"
HIPAA = SHIPPED / "overlays" / "hipaa-like.yaml"


@pytest.fixture(scope="module")
def offline_settings():
    """Settings of a home where nothing runs and nobody has a token."""
    with temporary_home() as home:
        yield settings_in(home)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """The shipped constitution without the article that keeps secrets in."""
    document = Library.load().constitution
    kept = [article for article in document["articles"] if article["id"] != "no-secret-egress"]
    return write_document(tmp_path / "broken.yaml", document | {"articles": kept})


def write_document(file: Path, document: dict) -> Path:
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file


def policy(offline_settings: Settings, *arguments: object) -> CommandResult:
    return somagent("policy", *map(str, arguments), settings=offline_settings)


def test_a_file_is_read_and_said_what_it_decides_on(offline_settings: Settings) -> None:
    ended = policy(offline_settings, "check", DEFAULT)
    assert ended.code == Code.OK, ended.err
    assert "Constitution default@1.0.0 is readable." in ended.out
    assert "action.egress" in ended.out


def test_every_fault_is_told_with_its_clause_and_its_line_in_the_file(
    offline_settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "bad.yaml"
    text = DEFAULT.read_text().replace("action.data == 'secret' &&", "action.dta == 'secret' &&", 1)
    file.write_text(text.replace("\"action.effect == 'destructive'\"", "action.effect"))
    ended = policy(offline_settings, "check", file)
    assert ended.code == Code.INVALID
    line = next(n for n, words in enumerate(text.splitlines(), 1) if "action.dta" in words)
    assert (
        f"{line}:13 clause 'no-secret-egress', articles[0].forbid: line 1, column 1: there is no attribute" in ended.err
    )
    assert "clause 'destructive', approvals[0].ask_when: line 1, column 1: this gives one of" in ended.err
    told = policy(offline_settings, "check", file, "--json").json["problem"]
    assert [(one["clause"], one["line"]) for one in told["problems"]] == [
        ("no-secret-egress", line),
        (
            "destructive",
            next(n for n, words in enumerate(file.read_text().splitlines(), 1) if "ask_when: act" in words),
        ),
    ]


def test_an_overlay_is_checked_on_its_base_and_its_faults_stand_in_its_own_file(
    offline_settings: Settings, tmp_path: Path
) -> None:
    assert "Overlay hipaa-like@1.0.0 is readable." in policy(offline_settings, "check", HIPAA).out
    file = tmp_path / "overlay.yaml"
    file.write_text(HIPAA.read_text().replace("signals.pii >= 0.5 && action.egress != 'none'", "signals.pee > 0.5", 1))
    ended = policy(offline_settings, "check", file)
    assert ended.code == Code.INVALID
    line = next(n for n, words in enumerate(file.read_text().splitlines(), 1) if "signals.pee" in words)
    assert f"{line}:13 clause 'personal-data-stays'" in ended.err


def test_the_shipped_constitution_is_proved_with_a_line_for_each_property(offline_settings: Settings) -> None:
    ended = policy(offline_settings, "prove", "default")
    assert ended.code == Code.OK, ended.err
    assert "secrets-stay" in ended.err, "progress is told while it is made"
    assert "of 21 proved" in ended.out.replace("21 of 21", "of 21")
    assert "refuted" not in ended.out


def test_a_refuted_guarantee_is_shown_with_an_action_in_words(offline_settings: Settings, broken: Path) -> None:
    ended = policy(offline_settings, "prove", broken)
    assert ended.code == Code.REFUTED
    assert "refuted secrets-stay" in ended.out
    assert "Take tool.invoke on python@1.0.0/run, action.egress = 'allowlist', action.data = 'secret'." in ended.out
    assert "It is allowed with score 0.7" in ended.out
    assert "cannot be activated" in ended.err


def test_with_json_a_review_is_one_document(offline_settings: Settings, broken: Path) -> None:
    ended = policy(offline_settings, "prove", broken, "--json")
    assert ended.code == Code.REFUTED
    assert ended.json["holds"] is False
    refuted = [proof for proof in ended.json["report"]["proofs"] if proof["outcome"] == "refuted"]
    assert [proof["guarantee"] for proof in refuted] == ["secrets-stay"]
    assert refuted[0]["witnesses"][0]["verdict"]["decision"] == "allow"


def test_an_overlay_that_widens_is_refuted_with_both_verdicts(offline_settings: Settings, tmp_path: Path) -> None:
    article = {"id": "no-secret-egress", "forbid": "action.data == 'secret' && action.egress == 'open'", "because": "b"}
    file = write_document(
        tmp_path / "wider.yaml",
        {
            "apiVersion": "somagent/v1",
            "kind": "Overlay",
            "metadata": {"name": "wider", "version": "1.0.0"},
            "base": "default",
            "articles": [article],
        },
    )
    for command in (("prove", file), ("prove", "default", "--overlay", file)):
        ended = policy(offline_settings, *command)
        assert ended.code == Code.REFUTED, command
        assert "The overlay widens: what was denied is asked or allowed." in ended.out
        assert "It is denied" in ended.out
        assert "It is allowed" in ended.out


def test_a_difference_says_what_is_newly_allowed_and_newly_asked(offline_settings: Settings, broken: Path) -> None:
    ended = policy(offline_settings, "diff", "default", broken)
    assert ended.code == Code.OK, ended.err
    assert ended.out.index("Newly allowed, was denied:") < ended.out.index("Newly asked, was denied:")
    assert "Before: denied" in ended.out
    assert "No action goes from allowed to denied." in ended.out
    assert policy(offline_settings, "diff", broken, broken).out == "Both decide every action alike.\n"


def test_what_an_overlay_newly_denies_is_shown_beside_its_base(offline_settings: Settings) -> None:
    ended = policy(offline_settings, "diff", "default", HIPAA)
    assert "Newly denied, was allowed:" in ended.out
    assert "signals.pii = 0.5" in ended.out
    assert "Newly allowed" not in ended.out


def test_an_explanation_cites_the_clause_and_says_what_would_help(offline_settings: Settings) -> None:
    ended = policy(offline_settings, "explain", DEFAULT, "--set", "action.data=secret", "--set", "action.egress='open'")
    assert ended.code == Code.OK, ended.err
    assert "because of no-secret-egress: action.data = 'secret', action.egress = 'open'" in ended.out
    assert "action.egress: 'open' -> 'none'" in ended.out
    asked = policy(offline_settings, "explain", DEFAULT, "--set", "action.effect=destructive", "--json").json
    assert asked["approvers"] == ["approval:decide"]


def test_a_supposed_attribute_that_cannot_be_is_named(offline_settings: Settings) -> None:
    ended = policy(offline_settings, "explain", DEFAULT, "--set", "action.data=public2")
    assert ended.code == Code.INVALID
    assert "action.data is one of 'public', 'internal', 'confidential', 'secret', not 'public2'" in ended.err


@pytest.mark.parametrize(
    "command",
    [
        ("explain", "default", "--set", "action.data"),
        ("explain", "default", "--approval", "x", "--set", "action.data=secret"),
        ("prove", "default", "--timeout", "0"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_ends_with_2(offline_settings: Settings, command: tuple[str, ...]) -> None:
    assert policy(offline_settings, *command).code == Code.USAGE


def test_what_no_proof_can_look_into_is_not_proved_and_blocks(offline_settings: Settings, tmp_path: Path) -> None:
    document = Library.load().constitution
    features = [dict(one) for one in document["score"]["features"]]
    features[-1]["value"] = "action.target.contains('q') ? 0.0 : 1.0"
    changed = document | {
        "score": document["score"] | {"features": features},
        "guarantees": [{"id": "never-that-low", "never": "score < 0.1"}],
    }
    ended = policy(offline_settings, "prove", write_document(tmp_path / "opaque.yaml", changed))
    assert ended.code == Code.REFUTED
    assert "not proved never-that-low" in ended.out
    assert "a feature no proof can look into" in ended.out


def test_json_files_are_read_too(offline_settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "constitution.json"
    file.write_text(json.dumps(Library.load().constitution))
    assert policy(offline_settings, "check", file).code == Code.OK
