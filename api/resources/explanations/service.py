"""Explanation of a run from the records of the database, and its HTML page.

Models, tools and people wrote the texts on the page, so every value is escaped.
"""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from api.deps import State
from capsules.approvals.approval import Approval
from capsules.audit.explanation import RunExplanation, chain_of, closed_run, explain_actions
from capsules.audit.receipt import Receipt
from capsules.budgets.amounts import Amounts
from capsules.digest import Digest
from capsules.errors import NotFound, SomaError
from capsules.names import parse_reference
from somagent.db.transaction import Transaction

PAGE_SIZE = 500

_PAGES = Environment(
    loader=PackageLoader("api"),
    autoescape=select_autoescape(default=True, default_for_string=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.filters["pretty"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
_PAGES.filters["cost"] = Amounts.format


async def explain_run(state: State, tenant: str, run: str) -> RunExplanation:
    """Return the explanation of a tenant's run. Raises NotFound."""
    async with state.db.transaction(tenant) as tx:
        record = await tx.runs.get(run)
        receipts = tuple([receipt async for receipt in receipts_of(tx, run)])
        names, clauses = await _cited_constitutions(state, receipts)
        return RunExplanation(
            run=record,
            intent=await _intent(tx, record.capsule),
            actions=explain_actions(receipts, clauses),
            closed=closed_run(receipts),
            approvals=tuple([approval async for approval in _approvals_of(tx, run)]),
            artifacts=await tx.artifacts.list(run),
            account=await tx.accounts.get(record.account) if record.account else None,
            children=await tx.runs.children(run),
            constitutions=names,
            chain=chain_of(receipts),
        )


def render_page(explanation: RunExplanation) -> str:
    """Return the explanation as an HTML document that loads nothing and runs no script."""
    return _PAGES.get_template("explanation.html.j2").render(it=explanation)


async def receipts_of(tx: Transaction, run: str) -> AsyncIterator[Receipt]:
    """Yield a run's receipts, oldest first."""
    after = 0
    while items := await tx.receipts.list(run, after, PAGE_SIZE):
        for receipt in items:
            yield receipt
        after = items[-1].seq


async def _approvals_of(tx: Transaction, run: str) -> AsyncIterator[Approval]:
    """Yield a run's approvals, newest first."""
    cursor = None
    while True:
        page = await tx.approvals.list(run=run, cursor=cursor, limit=PAGE_SIZE)
        for approval in page.items:
            yield approval
        if not (cursor := page.next):
            return


async def _intent(tx: Transaction, capsule: str) -> str:
    try:
        return (await tx.capsules.get(parse_reference(capsule))).capsule.spec.intent
    except NotFound:
        return ""  # an application's own workflow is not a capsule


async def _cited_constitutions(
    state: State, receipts: tuple[Receipt, ...]
) -> tuple[dict[Digest, str], dict[Digest, dict[str, str]]]:
    """Return the name of each constitution that a decision cites, and the reasons of its clauses by clause id."""
    cited = {receipt.body.get("verdict", {}).get("constitution") for receipt in receipts if receipt.kind == "decision"}
    names: dict[Digest, str] = {}
    clauses: dict[Digest, dict[str, str]] = {}
    for digest in sorted(filter(None, cited)):
        try:
            record = await state.db.constitutions.get(digest)
        except SomaError as error:
            names[digest] = f"cannot be read: {error.message}"
            continue
        names[digest] = f"{record.name}@{record.version}"
        clauses[digest] = dict(_clause_reasons(record.document))
    return names, clauses


def _clause_reasons(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for part in document.values():
        for clause in part if isinstance(part, list) else ():
            if isinstance(clause, dict) and "id" in clause:
                yield clause["id"], clause.get("because", "")
