"""Recorder of golden histories: `python deploy/histories.py` writes tests/histories/VERSION/*.json for this version.

Each history comes from a real run on a temporary local stack. Payloads stay encrypted with a codec key that is kept
beside the histories for this purpose only.
"""

import asyncio
import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from capsule_texts import autonomous, composite, utility  # noqa: E402
from platforms import Platform, platform_in  # noqa: E402
from servers import settings_in, temporary_home  # noqa: E402

from capsules.names import parse_reference  # noqa: E402
from somagent.capsule_files.library import Library  # noqa: E402
from somagent.identity.keys import KeyRing  # noqa: E402
from somagent.temporal.client import connect  # noqa: E402

HISTORIES = ROOT / "tests" / "histories"
DOUBLES = "import json\nprint(json.dumps({'value': json.load(open('input.json')).get('n', 1) * 2}))"


async def runs(platform: Platform) -> dict[str, str]:
    """Start a run of each kind and return the run ids by the name of the history."""
    found = {"utility": await platform.start(await platform.publish(utility("doubles", DOUBLES)), {"n": 21})}
    tasks = """
        - {id: one, capsule: doubles, with: {n: 1}}
        - {id: two, capsule: doubles, needs: [one], with: {n: "${{ tasks.one.output.value }}"}}
        """
    found["composite"] = await platform.start(await platform.publish(composite("quadruples", tasks)), {})
    asking = await platform.start(await platform.publish(utility("asks", DOUBLES, autonomy="manual")), {})
    await platform.until(asking, "awaiting_approval")
    for approval in await platform.approvals(asking):
        await platform.approver.post(f"/v1/approvals/{approval['id']}/approve", json={})
    found["approved"] = asking
    failing = utility("fails", "raise SystemExit('on purpose')")
    found["failed"] = await platform.start(await platform.publish(failing), {})
    sleeping = utility("sleeps", "import time\ntime.sleep(25)")
    found["cancelled"] = await platform.start(await platform.publish(sleeping), {})
    await platform.until(found["cancelled"], "running")
    await platform.tell(found["cancelled"], "cancel")
    found["autonomous"] = await platform.start(await platform.publish(autonomous("labels")), {})
    triage = Library.load().capsule(parse_reference("issue-triage"))
    found["issue-triage"] = await platform.start(triage.ref, triage.spec.example or {})
    return found


async def record() -> None:
    target = HISTORIES / version("somagent")
    target.mkdir(parents=True, exist_ok=True)
    with temporary_home() as home:
        settings = settings_in(home)
        settings.keys_dir.mkdir(mode=0o700)
        shutil.copy(HISTORIES / "codec-1.key", settings.keys_dir / "codec-1.key")
        (settings.keys_dir / "codec-1.key").chmod(0o600)
        async with platform_in(settings) as platform:
            client = await connect(settings, KeyRing.load(settings.keys_dir))
            for name, run in (await runs(platform)).items():
                record = await platform.until(run, seconds=200)
                history = await client.get_workflow_handle(run).fetch_history()
                kept = {"workflow_id": run, "history": json.loads(history.to_json())}
                (target / f"{name}.json").write_text(json.dumps(kept, indent=1))
                print(f"{name}: {record['status']}, {len(history.events)} events")


if __name__ == "__main__":
    asyncio.run(record())
