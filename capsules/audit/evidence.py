"""Evidence: one signed archive of a run, and its verification with nothing but the archive and two public keys.

The manifest names every file with its digest and is signed with the publisher's key. Redacted parts are named, and
nothing is claimed about them: a receipt with a withheld body keeps its place in the chain by the body's digest.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args
from urllib.parse import quote

from capsules.actions.action import ActionKind
from capsules.audit.attestations import DecisionAuditor
from capsules.audit.audit_blocks import Block, Inclusion
from capsules.audit.auditor import SignatureCheck, VerificationError, check_run
from capsules.audit.receipt import Receipt
from capsules.audit.temporal_history import match_history
from capsules.digest import Digest, canonical, digest, sha256
from capsules.errors import Invalid

FORMAT = "somagent-evidence/1"
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig.json"
Redaction = Literal["inputs", "output", "comments", "people", "history"]
REDACTIONS: tuple[Redaction, ...] = get_args(Redaction)
"""Parts that can be redacted: inputs, output, approvers' comments, names of people, the Temporal history."""
REDACTED = "[redacted]"

NAME_FIELDS = frozenset(
    {
        "actor", "by", "on_behalf_of", "approved_by", "requested_by", "decided_by", "used_by", "published_by",
        "proposed_by", "rejected_by", "delegator", "delegate",
    }
)  # fmt: skip
"""JSON fields that name people, at any depth."""

ArchiveFiles = Mapping[str, bytes]


def text_to_sign(manifest: bytes) -> str:
    """Return the text to sign. The format is in it, because the same key signs capsules."""
    return f"{FORMAT}\n{sha256(manifest)}"


def redact_names(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value with the names of all people redacted."""
    if isinstance(value, dict):
        return {key: _redact(item) if key in NAME_FIELDS else redact_names(item) for key, item in value.items()}
    return [redact_names(item) for item in value] if isinstance(value, list | tuple) else value


def _redact(value: Any) -> Any:  # noqa: ANN401 - a name, several, or what holds some
    if isinstance(value, str):
        return REDACTED if value else value
    if isinstance(value, list | tuple):
        return [_redact(item) for item in value]
    return redact_names(value)


def verify(
    files: ArchiveFiles, *, sealer: SignatureCheck, publisher: SignatureCheck, issuer: SignatureCheck
) -> dict[str, Any]:
    """Verify an archive and return the figures of the check by name, in the order to show them.

    Raises VerificationError with the first error, Invalid for a file that is no evidence.
    """
    about = _manifest(files, publisher)
    run = about["run"]
    receipts, withheld = _receipts(files)
    proofs = [Inclusion.model_validate(item) for item in _json(files, "inclusions.json")]
    blocks = [Block.model_validate(item) for item in _json(files, "blocks.json")]
    checked = check_run(run, receipts, proofs, blocks, sealer, withheld)
    children = _children(files, about, {"sealer": sealer, "publisher": publisher, "issuer": issuer})
    found: dict[str, Any] = {"run": run, "redacted": ", ".join(about["redacted"]) or "nothing", "files": len(files) - 2}
    found |= {**checked._asdict(), "bodies_withheld": len(withheld), "capsule": _capsule(files, publisher)}
    found |= {"constitutions": _constitutions(files, receipts), "approvals": _approvals(files, receipts)}
    found |= {"attested_decisions": _attested(files, about, receipts, issuer)}
    deleted = _json(files, "explanation.json")["run"].get("pruned_at")
    if deleted:
        found["content"] = f"deleted at {deleted}, as the tenant's retention says"
    else:
        _output(files, receipts, about["redacted"])
    if "history.json" in files and not withheld:
        results = _json(files, "results.json") if "results.json" in files else {}
        agreed = match_history(_json(files, "history.json"), receipts, get_args(ActionKind), results)
        found |= {"governed_activities": agreed.activities, "allowed_attempts": agreed.allows}
    return found | {"child_runs": children}


def folder_of(run: str, child: str) -> str:
    """Return the folder of a child run's evidence in its parent's archive."""
    return f"children/{quote(child.removeprefix(f'{run}/'), safe='')}/"


def _children(files: ArchiveFiles, about: dict[str, Any], checks: Mapping[str, SignatureCheck]) -> int | str:
    """Check the evidence of each child run as an archive of its own. Return the number of children."""
    children: list[str] = _json(files, "explanation.json")["children"]
    if children and not about.get("children"):
        return f"not included: {', '.join(children)}"
    for child in children:
        folder = folder_of(about["run"], child)
        part = {name.removeprefix(folder): data for name, data in files.items() if name.startswith(folder)}
        try:
            found = verify(part, **checks)
        except (VerificationError, Invalid) as problem:
            raise VerificationError(f"Child run {child!r}: {problem}") from problem
        if found["run"] != child:
            raise VerificationError(f"Child run {child!r}: its folder holds the evidence of {found['run']!r}.")
    return len(children)


def _manifest(files: ArchiveFiles, publisher: SignatureCheck) -> dict[str, Any]:
    if MANIFEST not in files or SIGNATURE not in files:
        raise Invalid(f"This is no evidence of a run: it has no {MANIFEST} with its signature.")
    about: dict[str, Any] = _json(files, MANIFEST)
    if about.get("format") != FORMAT:
        raise Invalid(f"This evidence is in the format {about.get('format')!r}; this version reads {FORMAT!r}.")
    signed = _json(files, SIGNATURE)
    if not publisher(signed["key_id"], text_to_sign(files[MANIFEST]), signed["signature"]):
        raise VerificationError(
            f"The signature of {MANIFEST} by key {signed['key_id']!r} does not hold: it was not made here."
        )
    named = about["files"]
    for name in sorted(named.keys() | files.keys() - {MANIFEST, SIGNATURE}):
        if name not in files:
            raise VerificationError(f"The file {name!r} is missing from the archive.")
        if name not in named:
            raise VerificationError(f"The file {name!r} was added to the archive.")
        if sha256(files[name]) != named[name]:
            raise VerificationError(f"The file {name!r} was altered.")
    return about


def _receipts(files: ArchiveFiles) -> tuple[list[Receipt], dict[int, Digest]]:
    receipts, withheld = [], {}
    for line in files.get("receipts.jsonl", b"").splitlines():
        item = json.loads(line)
        body_digest = item.pop("body_digest", None)
        receipt = Receipt.model_validate({**item, "body": item.get("body") or {}})
        if body_digest is not None:
            withheld[receipt.seq] = body_digest
        receipts.append(receipt)
    return receipts, withheld


def _capsule(files: ArchiveFiles, publisher: SignatureCheck) -> str:
    if "capsule.json" not in files:
        return "none: not a published capsule"
    published = _json(files, "capsule.json")
    if digest(published["capsule"]) != published["digest"]:
        raise VerificationError("The capsule was altered: it does not give its digest.")
    if not publisher(published["key_id"], published["digest"], published["signature"]):
        raise VerificationError(f"The capsule's signature by key {published['key_id']!r} does not hold.")
    return str(published["digest"])


def _constitutions(files: ArchiveFiles, receipts: list[Receipt]) -> int:
    known = set()
    for record in _json(files, "constitutions.json"):
        if digest(record["document"]) != record["digest"]:
            raise VerificationError(f"The constitution {record['name']!r} was altered: it does not give its digest.")
        known.add(record["digest"])
    for receipt in receipts:
        cited = receipt.body.get("verdict", {}).get("constitution") if receipt.kind == "decision" else None
        if cited and cited not in known:
            raise VerificationError(
                f"Receipt {receipt.seq} was decided by constitution {cited}, which is not in the archive."
            )
    return len(known)


def _approvals(files: ArchiveFiles, receipts: list[Receipt]) -> int:
    known = {approval["id"]: approval for approval in _json(files, "approvals.json")}
    for receipt in receipts:
        named = receipt.body.get("approval")
        if not named:
            continue
        if named not in known:
            raise VerificationError(f"Receipt {receipt.seq} names approval {named!r}, which is not in the archive.")
        if known[named]["action"] != receipt.body.get("action_digest"):
            raise VerificationError(f"Receipt {receipt.seq} used approval {named!r}, which is of another action.")
    return len(known)


def _attested(files: ArchiveFiles, about: dict[str, Any], receipts: list[Receipt], issuer: SignatureCheck) -> int | str:
    """Match the decisions of people with their attestations. Return how many are proved."""
    if "attestations.json" not in files:
        return "not included"
    kept = _json(files, "attestations.json")
    decisions = DecisionAuditor(about["tenant"], kept["tokens"], issuer)
    for receipt in receipts:
        if receipt.body and receipt.body["at"] > (kept["required_since"] or ""):
            decisions.check_receipt(about["run"], receipt.seq, receipt.body)
    decisions.finish()
    return decisions.proved


def _output(files: ArchiveFiles, receipts: list[Receipt], redacted: list[str]) -> None:
    """Compare the output with its digest in the receipt that ends the run."""
    recorded = receipts[-1].body.get("output") if receipts else None
    shown = _json(files, "explanation.json")["run"]["output"]
    if recorded and "output" not in redacted and digest(shown) != recorded:
        raise VerificationError("What came out is not what the run's last receipt says.")


def _json(files: ArchiveFiles, name: str) -> Any:  # noqa: ANN401 - any JSON value
    if name not in files:
        raise VerificationError(f"The file {name!r} is missing from the archive.")
    return json.loads(files[name])


Signer = Callable[[str], tuple[str, str]]
"""Returns a key's id and its Base64 signature over a text."""


def sign_archive(files: ArchiveFiles, about: dict[str, Any], sign: Signer) -> dict[str, bytes]:
    """Return the files with the signed manifest over them."""
    manifest = canonical({**about, "format": FORMAT, "files": {name: sha256(data) for name, data in files.items()}})
    key_id, signature = sign(text_to_sign(manifest))
    return {**files, MANIFEST: manifest, SIGNATURE: canonical({"key_id": key_id, "signature": signature})}
