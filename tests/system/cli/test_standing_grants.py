"""Standing grants from the command line: a run that would wait passes without a person, as often as was granted."""

from capsule_texts import utility
from client_cli import CommandResult
from platforms import Platform

from somagent.cli.exit_codes import Code

PRINTS = "print('{\"done\": true}')"
SCOPE = "action.kind == 'tool.invoke' && action.target == 'python@1.0.0/run' && action.egress == 'none'"


async def give(platform: Platform, scope: str = SCOPE, *more: str) -> CommandResult:
    words = ("--reason", "The nightly report was looked through.", "--as", "approver")
    return await platform.cli("approvals", "grant", scope, *words, *more)


async def test_as_many_runs_as_granted_pass_without_a_person(platform: Platform) -> None:
    given = await give(platform, SCOPE, "--uses", "2", "--for", "1h", "--json")
    assert given.code == Code.OK, given
    grant = given.json
    ref = await platform.publish(utility("passes-by-grant", PRINTS, autonomy="manual"))
    for _ in range(2):
        shown = await platform.run(ref, {})
        assert (shown["status"], shown["output"]) == ("completed", {"done": True}), shown["reason"]
        [decision] = [
            r["body"]
            for r in await platform.receipts(shown["id"])
            if r["kind"] == "decision" and r["body"]["action"]["kind"] == "tool.invoke"
        ]
        assert (decision["decision"], decision["reason"]) == ("allow", "standing grant")
        assert (decision["standing_grant"], decision["approved_by"]) == (grant["id"], "approver")
        assert decision["verdict"]["decision"] == "ask", "the constitution's own word stays on record"
    third = await platform.start(ref, {})
    assert (await platform.until(third, "awaiting_approval"))["status"] == "awaiting_approval"
    await platform.tell(third, "cancel")
    [listed] = [
        g
        for g in (await platform.cli("approvals", "grants", "--state", "all", "--json")).json
        if g["id"] == grant["id"]
    ]
    assert (listed["state"], listed["uses_left"]) == ("used up", 0)


async def test_a_grant_that_was_taken_back_lets_nothing_pass(platform: Platform) -> None:
    grant = (await give(platform, SCOPE, "--json")).json["id"]
    assert grant in (await platform.cli("approvals", "grants")).out
    taken = await platform.cli("approvals", "ungrant", grant, "--as", "approver")
    assert (taken.code, "revoked" in taken.out) == (Code.OK, True), taken
    run = await platform.start(await platform.publish(utility("grant-is-gone", PRINTS, autonomy="manual")), {})
    assert (await platform.until(run, "awaiting_approval"))["status"] == "awaiting_approval"
    await platform.tell(run, "cancel")


async def test_who_runs_cannot_grant_and_a_scope_too_wide_is_refused_with_the_reason(platform: Platform) -> None:
    runs = await platform.cli("approvals", "grant", SCOPE, "--reason", "mine")
    assert (runs.code, "approval:standing" in runs.err) == (Code.DENIED, True), runs
    wide = await give(platform, "true")
    assert (wide.code, "refuted" in wide.err) == (Code.INVALID, True), wide
