"""Evidence of one run: a signed archive with everything that an auditor needs to check the run offline."""

import asyncio
import io
import json
import zipfile
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel
from temporalio.service import RPCError

from api.deps import State
from api.resources.audit.service import result_digests
from api.resources.explanations.service import explain_run, receipts_of, render_page
from capsules.actions.ledger_messages import tenant_of
from capsules.audit.attestations import REQUIRED
from capsules.audit.auditor import SignatureCheck, VerificationError
from capsules.audit.evidence import FORMAT, REDACTED, Redaction, Signer, folder_of, redact_names, sign_archive, verify
from capsules.audit.explanation import RunExplanation
from capsules.audit.receipt import Receipt
from capsules.audit.temporal_history import completed_results
from capsules.constitutions.proof import Review
from capsules.digest import Digest, canonical, digest
from capsules.errors import Invalid, NotFound, SomaError
from capsules.identity.principal import Principal
from capsules.names import parse_reference
from policy.prove import review
from somagent.db.transaction import Transaction
from somagent.identity.keys import KeyPurpose

PROOF_SECONDS, PROOFS_SECONDS = 2.0, 10.0
MAX_LEDGER_ENTRIES = 500
MAX_CHILDREN = 200
SEAL_CHECKS = 6
"""How often the evidence of a run that has just ended checks for its blocks, every half interval of the sealer."""
README = f"""Evidence of one run of SomaGent, in the format {FORMAT}.

Check it with the public keys of the sealer, the publisher and the issuer. Get them from another source than this
archive:

    somagent audit verify --bundle FILE --keys DIRECTORY

manifest.json      every other file with its SHA-256, signed by the publisher's key (manifest.sig.json)
explanation.*      request, decisions, approvals, cost and result; the page is for people
capsule.json       the published capsule with its signature; lock.json: what it depended on, by digest
constitutions.json the constitutions of the decisions; proofs.json: the proof results for each
receipts.jsonl     every decision and outcome; inclusions.json and blocks.json: proofs that each is in a signed block
approvals.json     the approvals and their answers; attestations.json: the signed tokens that prove them
ledger.json        the budget account and its last entries
history.json       the Temporal history; its payloads stay encrypted
results.json       the digest of each activity's result in it, as the platform's keys decrypt it
children/          the same files for each child run, to be checked alone or with this run
verification.json  the result of this check when the archive was made
"""

EvidenceFiles = dict[str, bytes]


async def export(state: State, caller: Principal, run: str, redact: Collection[Redaction], *, children: bool) -> bytes:
    """Return the evidence as a ZIP archive. Raises NotFound, or Invalid when the run has too many child runs."""
    return _zip(await EvidenceBuilder(state, caller, redact, children).build(run))


@dataclass
class EvidenceBuilder:
    """Builds the files of an archive. It proves each constitution once, also when several runs cite it."""

    state: State
    caller: Principal
    redact: Collection[Redaction]
    children: bool
    proofs: dict[Digest, dict[str, Any]] = field(default_factory=dict)
    child_runs: int = 0
    """Child runs found so far, at any depth."""

    async def build(self, run: str) -> EvidenceFiles:
        """Return the signed files. The files of each child run are in a folder and signed separately."""
        state, redact = self.state, self.redact
        explanation = await explain_run(state, self.caller.tenant, run)
        if self.children:
            self._count(explanation)
        await _wait_for_blocks(state, self.caller.tenant, explanation)
        async with state.db.transaction(self.caller.tenant) as tx:
            files = await _records(tx, explanation, redact)
        files |= await self._constitutions(explanation)
        if "history" not in redact:
            files |= await _history(state, run)
        redacted = _redact(explanation, redact)
        files |= {"explanation.json": _json(redacted), "explanation.html": render_page(redacted).encode()}
        files["README.txt"] = README.encode()
        for child in explanation.children if self.children else ():
            files |= {folder_of(run, child) + name: data for name, data in (await self.build(child)).items()}
        about = {
            "run": run,
            "children": self.children,
            "tenant": self.caller.tenant,
            "made_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "made_by": REDACTED if "people" in redact else self.caller.subject,
            "redacted": sorted(redact),
        }
        files["verification.json"] = _verify(state, sign_archive(files, about, _sign(state)))
        return sign_archive(files, about, _sign(state))

    def _count(self, explanation: RunExplanation) -> None:
        self.child_runs += len(explanation.children)
        if self.child_runs > MAX_CHILDREN:
            raise Invalid(
                f"Run {explanation.run.id!r} has {self.child_runs} child runs; one archive holds {MAX_CHILDREN}. "
                "Export it without them (`--no-children`, `children=false`), and export each child run separately.",
                run=explanation.run.id,
            )

    async def _constitutions(self, explanation: RunExplanation) -> EvidenceFiles:
        records = []
        for constitution in explanation.constitutions:
            try:
                record = await self.state.db.constitutions.get(constitution)
            except SomaError:
                continue  # the check names the decision that cites it
            records.append(record.model_dump(mode="json"))
            if constitution not in self.proofs:
                self.proofs[constitution] = await _prove(self.state, record.document)
        proofs = {one["digest"]: self.proofs[one["digest"]] for one in records}
        values = {"constitutions.json": records, "proofs.json": proofs}
        anonymous = "people" in self.redact
        return {name: _json(redact_names(value) if anonymous else value) for name, value in values.items()}


async def _wait_for_blocks(state: State, tenant: str, explanation: RunExplanation) -> None:
    """Wait until the last receipts are in blocks, but not for ever. The check of the evidence reports missing ones."""
    for _ in range(SEAL_CHECKS):
        async with state.db.transaction(tenant) as tx:
            if len(await tx.audit.inclusions(explanation.run.id)) >= explanation.chain.receipts:
                return
        await asyncio.sleep(state.settings.seal_every_seconds / 2)


def _redact(explanation: RunExplanation, redact: Collection[Redaction]) -> RunExplanation:
    """Return the explanation without the redacted parts."""
    value = explanation.model_dump(mode="json")
    if "inputs" in redact:
        value["run"]["inputs"] = dict.fromkeys(value["run"]["inputs"], REDACTED)
    if "output" in redact:
        value["run"]["output"] = REDACTED
    if "comments" in redact:
        value["approvals"] = _without_comments(value["approvals"])
    return RunExplanation.model_validate(redact_names(value) if "people" in redact else value)


async def _records(tx: Transaction, explanation: RunExplanation, redact: Collection[Redaction]) -> EvidenceFiles:
    run = explanation.run
    proofs = await tx.audit.inclusions(run.id)
    approvals = [approval.model_dump(mode="json") for approval in explanation.approvals]
    approvals = _without_comments(approvals) if "comments" in redact else approvals
    values: dict[str, Any] = {
        "lock.json": await tx.runs.lock(run.id),
        "inclusions.json": [proof.model_dump(mode="json") for proof in proofs],
        "blocks.json": [
            block.model_dump(mode="json") for block in await tx.audit.blocks_at({proof.height for proof in proofs})
        ],
        "approvals.json": approvals,
        "ledger.json": {
            "account": explanation.account and explanation.account.model_dump(mode="json"),
            "entries": [
                entry.model_dump(mode="json")
                for entry in (await tx.accounts.ledger(run.account, MAX_LEDGER_ENTRIES) if run.account else ())
            ],
        },
    }
    try:
        published = await tx.capsules.get(parse_reference(run.capsule))
        values["capsule.json"] = published.model_dump(mode="json", by_alias=True)
    except NotFound:
        pass  # an application's own workflow is not a capsule
    receipts = [receipt async for receipt in receipts_of(tx, run.id)]
    if "people" in redact:
        values = redact_names(values)
    else:
        values["attestations.json"] = await _attestations(tx, receipts)
    lines = [_line(receipt, digest_only="people" in redact) for receipt in receipts]
    return {**{name: _json(value) for name, value in values.items()}, "receipts.jsonl": b"".join(lines)}


async def _attestations(tx: Transaction, receipts: list[Receipt]) -> dict[str, Any]:
    """Return the attestations of the decisions that the receipts name, and since when each decision has one."""
    records = {receipt.body.get(name) for receipt in receipts for name in ("approval", "standing_grant")} - {None}
    upgrade = (await tx.audit.list(action=REQUIRED, limit=1)).items
    return {
        "required_since": upgrade[0].body["at"] if upgrade else None,
        "tokens": [recorded.token for recorded in await tx.attestations.of(*map(str, records))],
    }


async def _prove(state: State, document: dict[str, Any]) -> dict[str, Any]:
    def work() -> Review:
        return review.review(review.load_candidate(document), seconds=PROOF_SECONDS, total=PROOFS_SECONDS)

    try:
        return (await state.proofs.work(work)).model_dump(mode="json")
    except SomaError as error:
        return {"not_proved": error.message}


async def _history(state: State, run: str) -> EvidenceFiles:
    try:
        history = await state.temporal.get_workflow_handle(run).fetch_history()
    except RPCError:
        return {}  # Temporal deletes histories after some time; the receipts stay
    text = history.to_json()
    results = await result_digests(state, tenant_of(run), run, completed_results(json.loads(text)))
    return {"history.json": text.encode(), "results.json": _json(results)}


def _line(receipt: Receipt, *, digest_only: bool) -> bytes:
    value = receipt.model_dump(mode="json")
    if digest_only:
        value |= {"body": None, "body_digest": digest(receipt.body)}
    return canonical(value) + b"\n"


def _without_comments(approvals: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**one, "comment": REDACTED, "answers": [{**answer, "comment": REDACTED} for answer in one["answers"]]}
        for one in approvals
    ]


def _verify(state: State, files: EvidenceFiles) -> bytes:
    def signature_check(purpose: KeyPurpose) -> SignatureCheck:
        return lambda key_id, text, value: state.keyring.verify(purpose, key_id, text.encode(), value)

    try:
        purposes: tuple[KeyPurpose, ...] = ("sealer", "publisher", "issuer")
        result = verify(files, **{purpose: signature_check(purpose) for purpose in purposes})
    except (SomaError, VerificationError) as problem:  # reported in the archive; every later check reports it, too
        return _json({"holds": False, "problem": str(problem)})
    return _json({"holds": True, **result})


def _sign(state: State) -> Signer:
    def sign(text: str) -> tuple[str, str]:
        signed = state.keyring.sign("publisher", text.encode())
        return signed.key_id, signed.value

    return sign


def _json(value: Any) -> bytes:  # noqa: ANN401 - any JSON value or model
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return (json.dumps(plain, ensure_ascii=False, indent=1) + "\n").encode()


def _zip(files: EvidenceFiles) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            archive.writestr(name, data)
    return buffer.getvalue()
