"""Evidence of a real run: exported, checked offline with two public keys, redacted, and attacked. No mocks."""

import asyncio
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from capsule_texts import composite, utility
from client_cli import CommandResult
from platforms import Platform

from capsules.audit.evidence import MANIFEST, REDACTIONS, SIGNATURE, sign_archive
from somagent.cli.exit_codes import Code
from somagent.identity.keys import KeyRing

SECRET = "the-password-of-the-vault"
# Members in no order, a fraction and a name that is not ASCII: what came out has one digest, however it is written.
PRINTS = "import json; print(json.dumps({'said': json.load(open('input.json')), 'half': 0.50, 'ähnlich': [1, None]}))"


@pytest.fixture(scope="module")
async def run(platform: Platform) -> str:
    """A run with a person's yes in it."""
    ref = await platform.publish(utility("evident", PRINTS, autonomy="manual"))
    run = await platform.start(ref, {"word": SECRET})
    await platform.until(run, "awaiting_approval")
    [approval] = await platform.approvals(run)
    body = {"comment": f"Fine, {SECRET}."}
    assert (await platform.approver.post(f"/v1/approvals/{approval['id']}/approve", json=body)).status_code == 200
    assert (await platform.until(run))["status"] == "completed"
    return run


@pytest.fixture(scope="module")
async def keys(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The public keys, as an auditor is given them."""
    directory = tmp_path_factory.mktemp("auditor") / "keys"
    assert (await platform.cli("audit", "keys", "-o", directory)).code == Code.OK
    assert {file.suffix for file in directory.iterdir()} == {".pub"}
    return directory


async def export(platform: Platform, run: str, file: Path, *redact: str) -> Path:
    options = [part for one in redact for part in ("--redact", one)]
    done = await platform.cli("evidence", "export", run, "-o", file, *options)
    assert done.code == Code.OK, done
    return file


async def check(platform: Platform, file: Path, keys: Path) -> CommandResult:
    """Check it where no API answers: the platform's address is not the auditor's."""
    return await platform.cli("audit", "verify", "--bundle", file, "--keys", keys, "--json")


async def test_evidence_is_checked_without_the_platform(
    platform: Platform, run: str, keys: Path, tmp_path: Path
) -> None:
    file = await export(platform, run, tmp_path / "run.zip")
    with zipfile.ZipFile(file) as archive:
        names = set(archive.namelist())
        verification = json.loads(archive.read("verification.json"))
        history = archive.read("history.json").decode()
    assert names >= {"capsule.json", "lock.json", "constitutions.json", "proofs.json", "receipts.jsonl", "ledger.json"}
    assert names >= {"inclusions.json", "blocks.json", "approvals.json", "explanation.html", "README.txt"}
    assert verification["holds"], verification
    assert SECRET not in history, "payloads stay encrypted"
    done = await check(platform, file, keys)
    assert done.code == Code.OK, done
    found = json.loads(done.out)
    assert found["sealed"] == found["receipts"] == len(await platform.receipts(run))
    assert (found["approvals"], found["constitutions"], found["waiting"]) == (1, 1, 0)
    assert found["governed_activities"] == found["allowed_attempts"] + 1, "one asked first, as an activity of its own"


async def test_what_is_redacted_is_nowhere_and_the_rest_still_holds(
    platform: Platform, run: str, keys: Path, tmp_path: Path
) -> None:
    file = await export(platform, run, tmp_path / "redacted.zip", *REDACTIONS)
    with zipfile.ZipFile(file) as archive:
        everything = b"\n".join(archive.read(name) for name in archive.namelist()).decode()
    for gone in (SECRET, '"operator"', '"approver"', 'history.json"'):
        assert gone not in everything, gone
    done = await check(platform, file, keys)
    assert done.code == Code.OK, done
    found = json.loads(done.out)
    assert found["bodies_withheld"] == found["receipts"] == found["sealed"]


def signed_anew(platform: Platform, file: Path, into: Path, change: Callable[[str], str | None]) -> Path:
    """Copy the archive with its files renamed or left out, under a manifest that the true key signed."""
    ring = KeyRing.load(platform.settings.keys_dir)

    def sign(text: str) -> tuple[str, str]:
        signed = ring.sign("publisher", text.encode())
        return signed.key_id, signed.value

    with zipfile.ZipFile(file) as source, zipfile.ZipFile(into, "w") as target:
        about = {name: value for name, value in json.loads(source.read(MANIFEST)).items() if name != "files"}
        kept = {change(name): source.read(name) for name in source.namelist() if name not in {MANIFEST, SIGNATURE}}
        files = {name: data for name, data in kept.items() if name is not None}
        for name, data in sign_archive(files, about, sign).items():
            target.writestr(name, data)
    return into


def remove_second_child(name: str) -> str | None:
    return None if name.startswith("children/two/") else name


def swap_children(name: str) -> str | None:
    return None if name.startswith("children/one/") else name.replace("children/two/", "children/one/")


async def test_a_composites_evidence_holds_that_of_its_child_runs(
    platform: Platform, keys: Path, tmp_path: Path
) -> None:
    await platform.publish(utility("part", PRINTS))
    tasks = """
    - {id: one, capsule: part, with: {word: first}}
    - {id: two, capsule: part, needs: [one], with: {word: second}}
    """
    run = await platform.start(await platform.publish(composite("evident-whole", tasks)), {})
    assert (await platform.until(run))["status"] == "completed"
    file = await export(platform, run, tmp_path / "whole.zip")
    done = await check(platform, file, keys)
    assert done.code == Code.OK, done
    assert json.loads(done.out)["child_runs"] == 2
    folder = "children/two/"
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(tmp_path / "two.zip", "w") as child:
        for name in archive.namelist():
            if name.startswith(folder):
                child.writestr(name.removeprefix(folder), archive.read(name))
    assert json.loads((await check(platform, tmp_path / "two.zip", keys)).out)["run"] == f"{run}/two"
    for change, named in (
        (remove_second_child, "/two': This is no evidence"),
        (swap_children, "/one': its folder holds the"),
    ):
        done = await check(platform, signed_anew(platform, file, tmp_path / f"{change.__name__}.zip", change), keys)
        assert (done.code, named in done.err) == (Code.UNSOUND, True), done
    alone = tmp_path / "alone.zip"
    assert (await platform.cli("evidence", "export", run, "-o", alone, "--no-children")).code == Code.OK
    assert json.loads((await check(platform, alone, keys)).out)["child_runs"] == f"not included: {run}/one, {run}/two"


def altered_archive(file: Path, into: Path, name: str, old: bytes, new: bytes) -> Path:
    """Copy the archive with one file changed, added or left out."""
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(into, "w") as target:
        for entry in source.namelist():
            data = source.read(entry)
            if entry != name:
                target.writestr(entry, data)
            elif new:
                assert old in data
                target.writestr(entry, data.replace(old, new, 1))
        if name not in source.namelist():
            target.writestr(name, new)
    return into


@pytest.mark.parametrize(
    ("name", "old", "new", "named"),
    [
        ("receipts.jsonl", b'"allow"', b'"deny"', "The file 'receipts.jsonl' was altered."),
        ("approvals.json", b"", b"", "The file 'approvals.json' is missing from the archive."),
        ("more.json", b"", b"{}", "The file 'more.json' was added to the archive."),
        ("manifest.json", b'"redacted":[]', b'"redacted":["output"]', "The signature of manifest.json by key"),
    ],
)
async def test_an_archive_that_was_touched_names_the_file(  # noqa: PLR0917 - a case
    platform: Platform, run: str, keys: Path, tmp_path: Path, name: str, old: bytes, new: bytes, named: str
) -> None:
    file = altered_archive(await export(platform, run, tmp_path / "run.zip"), tmp_path / "touched.zip", name, old, new)
    done = await check(platform, file, keys)
    assert done.code == Code.UNSOUND, done
    assert named in done.err


async def test_evidence_of_another_installation_and_no_evidence_are_refused(
    platform: Platform, run: str, keys: Path, tmp_path: Path
) -> None:
    file = await export(platform, run, tmp_path / "run.zip")
    empty = tmp_path / "none"
    empty.mkdir()
    assert (await check(platform, file, empty)).code == Code.INVALID
    other = tmp_path / "other"
    await asyncio.to_thread(swap_keys, keys, other)
    done = await check(platform, file, other)
    assert done.code == Code.UNSOUND, done
    assert "it was not made here" in done.err
    (tmp_path / "not.zip").write_text("nothing")
    done = await check(platform, tmp_path / "not.zip", keys)
    assert (done.code, "is no ZIP archive" in done.err) == (Code.INVALID, True)


def swap_keys(keys: Path, into: Path) -> None:
    """Another installation's keys: here the sealer's for the publisher's."""
    into.mkdir()
    for purpose in ("sealer", "publisher", "issuer"):
        (into / f"{purpose}-1.pub").write_text((keys / "sealer-1.pub").read_text())


async def test_of_another_tenants_run_there_is_no_evidence(platform: Platform, tmp_path: Path) -> None:
    done = await platform.cli("evidence", "export", "local/evident/none", "-o", tmp_path / "none.zip")
    assert done.code == Code.NOT_FOUND
    assert not (tmp_path / "none.zip").exists()
