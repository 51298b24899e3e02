"""SignatureCheck of `somagent audit verify`: they recompute every record that the API hands over, and trust none."""

import zipfile
from pathlib import Path
from typing import Any, get_args

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn

from capsules.actions.action import ActionKind
from capsules.audit.audit_blocks import Block, Inclusion, Leaf
from capsules.audit.auditor import Auditor, Record, SignatureCheck, VerificationError, check_run, group_by_block
from capsules.audit.evidence import verify
from capsules.audit.receipt import Receipt
from capsules.audit.temporal_history import match_history
from capsules.errors import Invalid
from somagent.anchors.anchor import read_anchors
from somagent.cli import output
from somagent.cli.connection import Api, run_path
from somagent.cli.exit_codes import Code
from somagent.identity.keys import KeyPurpose, holds, verifier_of, verifiers
from somagent.settings import Settings

AT_ONCE = 5000
LARGEST = 2 * 2**30

CheckFigures = dict[str, Any]
"""The figures of a check by name, in the order to show them."""


def keys_of(purpose: KeyPurpose, given: Path | None, api: Api | None) -> tuple[SignatureCheck, str]:
    """Return the check of a purpose's signatures, and where its keys are from. The API's own are the last resort."""
    home = Settings().keys_dir
    directory = given or (home if home.is_dir() else None)
    keys = verifiers(directory, purpose) if directory else {}
    origin = str(directory)
    if not keys and given is None and api is not None:
        shown = api.get("/v1/audit/keys")["keys"]
        keys = {name: verifier_of(pem) for name, pem in shown.items() if name.startswith(f"{purpose}-")}
        origin = "the API itself: compare them with those that you were given"
    if not keys:
        output.fail(
            f"There is no public key of the {purpose} (`{purpose}-1.pub`) in {str(directory)!r}: name the directory of "
            "those that you were given with --keys.",
            code=Code.INVALID,
        )

    def checks(key_id: str, text: str, signature: str) -> bool:
        return holds(keys.get(key_id), text.encode(), signature)

    return checks, origin


def audit_bundle(file: Path, keys: Path | None) -> tuple[CheckFigures, str]:
    """Check evidence offline. Raises VerificationError with the first bad item, Invalid for what is no evidence."""
    sealer, origin = keys_of("sealer", keys, None)
    publisher, _ = keys_of("publisher", keys, None)
    try:
        with zipfile.ZipFile(file) as archive:
            large = sum(entry.file_size for entry in archive.infolist())
            if large > LARGEST:
                raise Invalid(f"{str(file)!r} unpacks to {large:,} bytes, more than the {LARGEST:,} of any evidence.")
            files = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    except (zipfile.BadZipFile, OSError) as error:
        raise Invalid(f"{str(file)!r} is no ZIP archive: {error}") from error
    try:
        return verify(files, sealer=sealer, publisher=publisher), origin
    except (ValueError, KeyError, TypeError) as error:
        raise VerificationError(f"A file of the archive is not what its name says: {error}") from error


def audit_tenant(api: Api, checks: SignatureCheck, anchors: Path | None) -> CheckFigures:
    """Check everything that is sealed for the caller's tenant. Raises VerificationError with the first bad item."""
    anchored = read_anchors(anchors or Settings().anchors)  # first: what is sealed meanwhile is not missing
    status = api.get("/v1/audit/status")
    blocks = [Block.model_validate(item) for item in api.numbered("/v1/audit/blocks", most=status["height"])]
    tenant = blocks[0].tenant if blocks else ""
    auditor = Auditor(tenant, checks)
    records = api.numbered("/v1/audit/records", most=status["leaves"], size=AT_ONCE)
    read = (Record(Leaf(*leaf), body, previous) for leaf, body, previous in records)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TaskProgressColumn())
    with Progress(*columns, console=output.console(errors=True), transient=True, disable=api.json) as progress:
        task = progress.add_task("records", total=status["leaves"])
        for block, own in group_by_block(blocks, read):
            auditor.block(block, own)
            progress.advance(task, len(own))
    if auditor.leaves != status["leaves"]:
        raise VerificationError(f"The record ends at sequence number {auditor.leaves} of {status['leaves']}.")
    if status["strays"]:
        raise VerificationError(f"In no block, and waiting for none: {', '.join(status['strays'])}. Somebody added it.")
    digests = {block.height: block.digest for block in blocks}
    return {
        "blocks": auditor.blocks,
        "records": auditor.leaves,
        "runs": auditor.runs,
        "waiting_for_the_seal": status["waiting"],
        "anchored_blocks": auditor.anchored(anchored, digests.get),
        "head": auditor.head,
    }


def audit_run(api: Api, run: str, checks: SignatureCheck, history: dict[str, Any] | None) -> CheckFigures:
    """Check one run, and against its history where there is one. Raises VerificationError with the first bad item."""
    receipts = [Receipt.model_validate(item) for item in api.numbered(run_path(run, "receipts"))]
    sealed = api.get(run_path(run, "inclusions", below="/v1/audit/runs"))
    proofs = [Inclusion.model_validate(item) for item in sealed["proofs"]]
    blocks = [Block.model_validate(item) for item in sealed["blocks"]]
    found: CheckFigures = check_run(run, receipts, proofs, blocks, checks)._asdict()
    if history is not None:
        agreed = match_history(history, receipts, get_args(ActionKind))
        found |= {"history_of_execution": agreed.execution, "governed_activities": agreed.activities}
        found |= {"allowed_attempts": agreed.allows}
    return found
