"""Evidence of one run: one signed archive with everything that an auditor needs to check it offline."""

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
from api.resources.explanations.service import explain_run, page, receipts_of
from capsules.audit.auditor import SignatureCheck, VerificationError
from capsules.audit.evidence import FORMAT, REDACTED, Redaction, Signer, folder_of, redact_names, sign_archive, verify
from capsules.audit.explanation import RunExplanation
from capsules.audit.receipt import Receipt
from capsules.constitutions.proof import Review
from capsules.digest import Digest, canonical, digest
from capsules.errors import Invalid, NotFound, SomaError
from capsules.identity.principal import Principal
from capsules.names import parse_reference
from policy.prove import review
from somagent.db.transaction import Transaction
from somagent.identity.keys import KeyPurpose

PROOF_SECONDS, PROOFS_SECONDS = 2.0, 10.0
ENTRIES = 500
MOST_CHILDREN = 200
SEAL_PATIENCE = 6
"""How many half intervals of the sealer the evidence of a run that has just ended waits."""
README = f"""Evidence of one run of SomaGent, in the format {FORMAT}.

Check it with the sealer's and the publisher's public keys, which you have from elsewhere than this archive:

    somagent audit verify --bundle FILE --keys DIRECTORY

manifest.json      every other file with its SHA-256, signed by the publisher's key (manifest.sig.json)
explanation.*      what was asked, decided, approved, spent, and what came out; the page is for people
capsule.json       the published capsule with its signature; lock.json: what it depended on, by digest
constitutions.json the constitutions that decided; proofs.json: what is proved of each
receipts.jsonl     every decision and outcome; inclusions.json and blocks.json: that each is sealed
approvals.json     who was asked, who said what
ledger.json        the budget account and its last entries
history.json       the Temporal history; its payloads stay encrypted
children/          the same of each child run, to be checked by itself or with this one
verification.json  what this check said when the archive was made
"""

EvidenceFiles = dict[str, bytes]


async def evidence_of(
    soma: State, caller: Principal, run: str, redact: Collection[Redaction], *, children: bool
) -> bytes:
    """Return a ZIP archive. Raises NotFound for a run that is not the caller's tenant's."""
    return _zip(await Gathering(soma, caller, redact, children).archive(run))


@dataclass
class Gathering:
    """What is asked for, and what is proved of the constitutions that were met on the way."""

    soma: State
    caller: Principal
    redact: Collection[Redaction]
    children: bool
    proofs: dict[Digest, dict[str, Any]] = field(default_factory=dict)
    runs: int = 0
    """Child runs met so far, at any depth."""

    async def archive(self, run: str) -> EvidenceFiles:
        """Return the files, signed; each child run's in a folder, signed by themselves."""
        soma, redact = self.soma, self.redact
        explanation = await explain_run(soma, self.caller.tenant, run)
        if self.children:
            self._count(explanation)
        await _sealed(soma, self.caller.tenant, explanation)
        async with soma.db.transaction(self.caller.tenant) as tx:
            files = await _recorded(tx, explanation, redact)
        files |= await self._constitutions(explanation)
        if "history" not in redact:
            files |= await _history(soma, run)
        shown = redacted(explanation, redact)
        files |= {"explanation.json": _json(shown), "explanation.html": page(shown).encode()}
        files["README.txt"] = README.encode()
        for child in explanation.children if self.children else ():
            files |= {folder_of(run, child) + name: data for name, data in (await self.archive(child)).items()}
        about = {
            "run": run,
            "children": self.children,
            "tenant": self.caller.tenant,
            "made_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "made_by": REDACTED if "people" in redact else self.caller.subject,
            "redacted": sorted(redact),
        }
        files["verification.json"] = _verified(soma, sign_archive(files, about, _sign(soma)))
        return sign_archive(files, about, _sign(soma))

    def _count(self, explanation: RunExplanation) -> None:
        self.runs += len(explanation.children)
        if self.runs > MOST_CHILDREN:
            raise Invalid(
                f"Run {explanation.run.id!r} has {self.runs} child runs, and one archive holds {MOST_CHILDREN}. "
                "Export it without them (`--no-children`, `children=false`), and each by itself.",
                run=explanation.run.id,
            )

    async def _constitutions(self, explanation: RunExplanation) -> EvidenceFiles:
        records = []
        for constitution in explanation.constitutions:
            try:
                record = await self.soma.db.constitutions.get(constitution)
            except SomaError:
                continue  # the check names the decision that cites it
            records.append(record.model_dump(mode="json"))
            if constitution not in self.proofs:
                self.proofs[constitution] = await _proved(self.soma, record.document)
        proofs = {one["digest"]: self.proofs[one["digest"]] for one in records}
        values = {"constitutions.json": records, "proofs.json": proofs}
        withheld = "people" in self.redact
        return {name: _json(redact_names(value) if withheld else value) for name, value in values.items()}


async def _sealed(soma: State, tenant: str, explanation: RunExplanation) -> None:
    """Give the sealer the time for what was recorded last. Evidence without it says what waits."""
    for _ in range(SEAL_PATIENCE):
        async with soma.db.transaction(tenant) as tx:
            if len(await tx.audit.inclusions(explanation.run.id)) >= explanation.chain.receipts:
                return
        await asyncio.sleep(soma.settings.seal_every_seconds / 2)


def redacted(explanation: RunExplanation, redact: Collection[Redaction]) -> RunExplanation:
    """Return the explanation without what shall not be handed over."""
    value = explanation.model_dump(mode="json")
    if "inputs" in redact:
        value["run"]["inputs"] = dict.fromkeys(value["run"]["inputs"], REDACTED)
    if "output" in redact:
        value["run"]["output"] = REDACTED
    if "comments" in redact:
        value["approvals"] = _without_comments(value["approvals"])
    return RunExplanation.model_validate(redact_names(value) if "people" in redact else value)


async def _recorded(tx: Transaction, explanation: RunExplanation, redact: Collection[Redaction]) -> EvidenceFiles:
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
                for entry in (await tx.accounts.ledger(run.account, ENTRIES) if run.account else ())
            ],
        },
    }
    try:
        published = await tx.capsules.get(parse_reference(run.capsule))
        values["capsule.json"] = published.model_dump(mode="json", by_alias=True)
    except NotFound:
        pass  # an application's own workflow is not a capsule
    values = redact_names(values) if "people" in redact else values
    lines = [_line(receipt, withhold="people" in redact) async for receipt in receipts_of(tx, run.id)]
    return {**{name: _json(value) for name, value in values.items()}, "receipts.jsonl": b"".join(lines)}


async def _proved(soma: State, document: dict[str, Any]) -> dict[str, Any]:
    def piece() -> Review:
        return review.review(review.load_candidate(document), seconds=PROOF_SECONDS, total=PROOFS_SECONDS)

    try:
        return (await soma.proofs.work(piece)).model_dump(mode="json")
    except SomaError as error:
        return {"not_proved": error.message}


async def _history(soma: State, run: str) -> EvidenceFiles:
    try:
        history = await soma.temporal.get_workflow_handle(run).fetch_history()
    except RPCError:
        return {}  # Temporal keeps histories for a time only; the receipts stay
    return {"history.json": history.to_json().encode()}


def _line(receipt: Receipt, *, withhold: bool) -> bytes:
    value = receipt.model_dump(mode="json")
    if withhold:
        value |= {"body": None, "body_digest": digest(receipt.body)}
    return canonical(value) + b"\n"


def _without_comments(approvals: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**one, "comment": REDACTED, "answers": [{**said, "comment": REDACTED} for said in one["answers"]]}
        for one in approvals
    ]


def _verified(soma: State, files: EvidenceFiles) -> bytes:
    def checks(purpose: KeyPurpose) -> SignatureCheck:
        return lambda key_id, text, value: soma.keyring.verify(purpose, key_id, text.encode(), value)

    try:
        found = verify(files, sealer=checks("sealer"), publisher=checks("publisher"))
    except (SomaError, VerificationError) as problem:  # told here, and again by whoever checks
        return _json({"holds": False, "problem": str(problem)})
    return _json({"holds": True, **found})


def _sign(soma: State) -> Signer:
    def sign(text: str) -> tuple[str, str]:
        signed = soma.keyring.sign("publisher", text.encode())
        return signed.key_id, signed.value

    return sign


def _json(value: Any) -> bytes:  # noqa: ANN401 - any JSON value or model
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return (json.dumps(plain, ensure_ascii=False, indent=1) + "\n").encode()


def _zip(files: EvidenceFiles) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            archive.writestr(name, data)
    return made.getvalue()
