"""Checks of `somagent audit verify`: they recompute every record that the API returns, and trust none."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn

from capsules.actions.action import ActionKind
from capsules.audit.attestations import REQUIRED, DecisionAuditor
from capsules.audit.audit_blocks import Block, Inclusion, Leaf
from capsules.audit.auditor import Auditor, Record, SignatureCheck, VerificationError, check_run, group_by_block
from capsules.audit.evidence import verify
from capsules.audit.ledger_audit import ShownAccount
from capsules.audit.projections import ProjectionAuditor, ShownRun, check_run_row
from capsules.audit.receipt import Receipt
from capsules.audit.temporal_history import completed_results, match_history
from capsules.digest import Digest
from capsules.errors import Invalid
from capsules.runs.url import run_path
from somagent.anchors.anchor import read_anchors
from somagent.cli import output
from somagent.cli.connection import Api
from somagent.cli.exit_codes import Code
from somagent.identity.keys import KeyPurpose, load_public_keys, parse_public_key, verify_signature
from somagent.settings import Settings

PAGE = 5000
MAX_BYTES = 2 * 2**30
BATCH_BYTES = 512 * 1024

CheckFigures = dict[str, Any]
"""The figures of a check by name, in the order of the output."""


def load_keys(purpose: KeyPurpose, given: Path | None, api: Api | None) -> tuple[SignatureCheck, str]:
    """Return the signature check for keys of a purpose, and where the keys come from.

    The keys are those of `given`, else of SOMAGENT_HOME, else of the API. Ends the command when there are none.
    """
    home = Settings().keys_dir
    directory = given or (home if home.is_dir() else None)
    keys = load_public_keys(directory, purpose) if directory else {}
    origin = str(directory)
    if not keys and given is None and api is not None:
        published = api.get("/v1/audit/keys")["keys"]
        keys = {name: parse_public_key(pem) for name, pem in published.items() if name.startswith(f"{purpose}-")}
        origin = "the API itself: compare them with those that you were given"
    if not keys:
        output.fail(
            f"There is no public key of the {purpose} (`{purpose}-1.pub`) in {str(directory)!r}: name the directory of "
            "those that you were given with --keys.",
            code=Code.INVALID,
        )

    def check(key_id: str, text: str, signature: str) -> bool:
        return verify_signature(keys.get(key_id), text.encode(), signature)

    return check, origin


def audit_bundle(file: Path, keys: Path | None) -> tuple[CheckFigures, str]:
    """Check evidence offline. Raises VerificationError for the first bad item, Invalid when the file is no archive."""
    sealer, origin = load_keys("sealer", keys, None)
    publisher, _ = load_keys("publisher", keys, None)
    issuer, _ = load_keys("issuer", keys, None)
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_BYTES:
                raise Invalid(f"{str(file)!r} unpacks to {size:,} bytes, more than the {MAX_BYTES:,} of any evidence.")
            files = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    except (zipfile.BadZipFile, OSError) as error:
        raise Invalid(f"{str(file)!r} is no ZIP archive: {error}") from error
    try:
        return verify(files, sealer=sealer, publisher=publisher, issuer=issuer), origin
    except (ValueError, KeyError, TypeError) as error:
        raise VerificationError(f"A file of the archive is not what its name says: {error}") from error


def audit_tenant(api: Api, checks: SignatureCheck, issuer: SignatureCheck, anchors: Path | None) -> CheckFigures:
    """Check all audit blocks of the caller's tenant. Raises VerificationError for the first bad item."""
    anchored = read_anchors(anchors or Settings().anchors)  # read first, so that later blocks are not missed
    status = api.get("/v1/audit/status")
    blocks = [Block.model_validate(item) for item in api.iter_numbered("/v1/audit/blocks", most=status["height"])]
    tenant = blocks[0].tenant if blocks else ""
    projections = ProjectionAuditor()
    # Read first: an attestation is recorded with its decision, so later decisions are not asked for theirs.
    decisions = DecisionAuditor(tenant, _read_attestations(api), issuer)

    def read_record(record: Record) -> None:
        projections.read(record)
        decisions.read(record)

    auditor = Auditor(tenant, checks, read_record)
    records = api.iter_numbered("/v1/audit/records", most=status["leaves"], size=PAGE)
    read = (Record(Leaf(*leaf), *rest) for leaf, *rest in records)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TaskProgressColumn())
    with Progress(*columns, console=output.console(errors=True), transient=True, disable=api.json) as progress:
        task = progress.add_task("records", total=status["leaves"])
        for block, own in group_by_block(blocks, read):
            auditor.check_block(block, own)
            progress.advance(task, len(own))
    if auditor.leaves != status["leaves"]:
        raise VerificationError(f"The record ends at sequence number {auditor.leaves} of {status['leaves']}.")
    if status["strays"]:
        raise VerificationError(f"In no block, and waiting for none: {', '.join(status['strays'])}. Somebody added it.")
    accounts = api.iter_by_id("/v1/audit/accounts", sealed=auditor.leaves)
    runs = api.iter_by_id("/v1/audit/runs", sealed=auditor.leaves)
    shown = {
        "accounts": projections.ledger.check_accounts(ShownAccount.model_validate(item) for item in accounts),
        "runs": projections.check_runs(ShownRun.model_validate(item) for item in runs),
    }
    decisions.finish()
    digests = {block.height: block.digest for block in blocks}
    return {
        "blocks": auditor.blocks,
        "records": auditor.leaves,
        **shown,
        "attested_decisions": decisions.proved,
        "waiting_for_the_seal": status["waiting"],
        "anchored_blocks": auditor.check_anchors(anchored, digests.get),
        "head": auditor.head,
    }


def audit_run(
    api: Api, run: str, checks: SignatureCheck, issuer: SignatureCheck, history: dict[str, Any] | None
) -> CheckFigures:
    """Check one run, and compare it with its history if given. Raises VerificationError for the first bad item."""
    row = next(iter(api.get("/v1/audit/runs", only=run)), None)
    receipts = [Receipt.model_validate(item) for item in api.iter_numbered(run_path(run, "receipts"))]
    sealed = api.get(run_path(run, "inclusions", root="/v1/audit/runs"))
    proofs = [Inclusion.model_validate(item) for item in sealed["proofs"]]
    blocks = [Block.model_validate(item) for item in sealed["blocks"]]
    found: CheckFigures = check_run(run, receipts, proofs, blocks, checks)._asdict()
    if row is not None:
        check_run_row(ShownRun.model_validate(row), receipts)
    decisions = DecisionAuditor(run.partition("/")[0], _read_attestations(api), issuer)
    upgrade = api.get("/v1/audit/entries", action=REQUIRED, limit=1)["items"]
    for receipt in receipts:
        if not upgrade or receipt.body["at"] > upgrade[0]["body"]["at"]:
            decisions.check_receipt(run, receipt.seq, receipt.body)
    decisions.finish()
    found |= {"attested_decisions": decisions.proved}
    if history is not None:
        results: dict[str, Digest | None] = {}
        for batch in _batches(completed_results(history)):
            results |= api.post(run_path(run, "results", root="/v1/audit/runs"), {"results": batch})["digests"]
        agreed = match_history(history, receipts, get_args(ActionKind), results)
        found |= {"history_of_execution": agreed.execution, "governed_activities": agreed.activities}
        found |= {"allowed_attempts": agreed.allows}
    return found


def _batches(payloads: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the payloads in requests that the API accepts."""
    batch: dict[str, Any] = {}
    size = 0
    for activity, payload in payloads.items():
        length = len(json.dumps(payload))
        if batch and size + length > BATCH_BYTES:
            yield batch
            batch, size = {}, 0
        batch[activity] = payload
        size += length
    if batch:
        yield batch


def _read_attestations(api: Api) -> list[str]:
    return [item["token"] for item in api.iter_numbered("/v1/audit/attestations")]
