"""A run explained from its records: asked, decided by which clause, approved by whom, cost, outcome. Nothing invented."""

import json
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from capsule_texts import utility
from platforms import Platform

from capsules.audit.explanation import RunExplanation
from capsules.digest import digest
from somagent.cli.exit_codes import Code

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
PRINTS = f"import json; print(json.dumps({{'said': {HOSTILE!r}}}))"


class Tags(HTMLParser):
    """Collects what a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


async def get(http: httpx.AsyncClient, run: str, what: str = "explanation") -> httpx.Response:
    return await http.get(f"/v1/runs/{run.replace('/', '~')}/{what}")


async def decided_run(platform: Platform, name: str, *, verb: str, comment: str) -> str:
    """Run a capsule whose tool use a person decides."""
    run = await platform.start(await platform.publish(utility(name, PRINTS, autonomy="manual")), {})
    await platform.until(run, "awaiting_approval")
    [approval] = await platform.approvals(run)
    answer = await platform.approver.post(f"/v1/approvals/{approval['id']}/{verb}", json={"comment": comment})
    assert answer.status_code == 200, answer.text
    await platform.until(run)
    return run


async def test_a_run_is_explained_as_json_text_and_a_page(platform: Platform, tmp_path: Path) -> None:
    run = await decided_run(platform, "explained", verb="approve", comment=HOSTILE)
    it = RunExplanation.model_validate((await get(platform.operator, run)).json())
    start, tool, published = it.actions[:3]
    assert (start.kind, start.word) == ("capsule.start", "done")
    assert [one.decision for one in tool.decisions] == ["ask", "allow"]
    asked = tool.decisions[0]
    assert [clause.id for clause in asked.clauses] == ["manual-autonomy"]
    assert all(clause.because for clause in asked.clauses), "in the constitution's own words"
    assert tool.decisions[1].approved_by == ("approver",)
    assert (tool.usage.tool_calls, published.kind) == (1, "artifact.publish")
    [approval] = it.approvals
    assert [(said.by, said.said, said.comment) for said in approval.answers] == [("approver", "yes", HOSTILE)]
    assert it.closed is not None
    assert (it.closed.status, it.closed.output) == ("completed", digest(it.run.output)), "what came out is on record"
    assert it.closed.spent == it.run.spent
    assert it.account is not None
    assert it.account.limit.tool_calls >= 1
    receipts = await platform.receipts(run)
    assert (it.chain.receipts, it.chain.head, it.chain.problem) == (len(receipts), receipts[-1]["hash"], None)

    page = await get(platform.operator, run, "explanation.html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    seen = Tags(page.text)
    assert not seen.tags & {"script", "img", "a", "iframe", "form", "link"}, "what a tool wrote stays text"
    assert not {name for name in seen.attributes if name.startswith("on") or name in {"src", "href"}}
    assert "Approved by approver" in page.text

    shown = await platform.cli("explain", run)
    assert shown.code == Code.OK, shown
    for words in ("manual-autonomy", "approved by approver", "approver said yes", "The receipts are whole"):
        assert words in shown.out
    file = tmp_path / "run.html"
    kept = await platform.cli("explain", run, "--html", file, "--json")
    assert json.loads(kept.out)["run"]["id"] == run
    assert Tags(file.read_text()).tags == seen.tags


async def test_a_denied_action_is_explained_by_who_denied_it(platform: Platform) -> None:
    run = await decided_run(platform, "explained-no", verb="deny", comment="Not today.")
    it = RunExplanation.model_validate((await get(platform.operator, run)).json())
    tool = it.actions[1]
    assert (tool.kind, tool.word, tool.outcomes) == ("tool.invoke", "asked", ())
    assert [(said.by, said.said, said.comment) for said in it.approvals[0].answers] == [
        ("approver", "no", "Not today.")
    ]
    assert it.closed is not None
    assert it.closed.status == "failed"


@pytest.mark.parametrize("what", ["explanation", "explanation.html"])
async def test_another_tenants_run_is_not_found(platform: Platform, what: str) -> None:
    for run in ("elsewhere/explained/1", "local/explained/none"):
        answer = await get(platform.operator, run, what)
        assert (answer.status_code, answer.json()["code"]) == (404, "NotFound")
