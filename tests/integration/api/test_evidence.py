"""Evidence by the API: how much of a family of runs one archive holds."""

import httpx
from api_callers import Callers, assert_problem

from api.deps import State
from api.resources.explanations.evidence import MAX_CHILDREN
from capsules.constitutions.constitution import ConstitutionRecord
from capsules.digest import digest
from capsules.runs.run import NewRun


async def test_more_child_runs_than_one_archive_holds_are_refused_before_any_is_gathered(
    http: httpx.AsyncClient, callers: Callers, state: State, tenant: str, constitution: ConstitutionRecord
) -> None:
    parent = f"{tenant}/whole/1"
    async with state.db.transaction(tenant) as tx:
        for run, above in ((parent, None), *((f"{parent}/{n}", parent) for n in range(MAX_CHILDREN + 1))):
            await tx.runs.accept(
                NewRun(id=run, capsule="whole@1.0.0", digest=digest({}), actor="ada", request=digest(run), parent=above)
            )
    path = f"/v1/runs/{parent.replace('/', '~')}/evidence"
    refused = await http.get(path, headers=callers.all())
    assert_problem(refused, 422, "Invalid", f"has {MAX_CHILDREN + 1} child runs", "--no-children")
    alone = await http.get(path, params={"children": False}, headers=callers.all())
    assert (alone.status_code, alone.headers["content-type"]) == (200, "application/zip")
