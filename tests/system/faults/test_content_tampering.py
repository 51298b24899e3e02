"""Bytes that changed under their digest are never handed out and never thought with: the digest is named."""

from capsule_texts import thinker, utility
from chaos import query_rows
from outages import with_model
from platforms import Platform
from servers import eventually

THINKS_TWICE = (
    # Asked by nobody else: a transcript that was there before would be the same blob.
    '[{id: first, think: "Which colour has the sea?"},'
    " {id: nap, use: python/run, with: {code: \"import time; time.sleep(3); print('{}')\"}},"
    ' {id: last, think: "And the grass?"}]'
)


async def test_an_altered_artifact_is_not_handed_out(stack: Platform) -> None:
    run = await stack.run(await stack.publish(utility("leaves-a-thing", "print('[1, 2, 3]')")), {})
    where = f"/v1/artifacts/{run['artifact']}"
    assert (await stack.operator.get(where)).json() == [1, 2, 3]
    await query_rows(
        stack.settings,
        "UPDATE content_blobs SET data = convert_to('[1, 2, 4]', 'UTF8') WHERE digest = $1",
        run["artifact"],
    )
    answer = await stack.operator.get(where)
    assert (answer.status_code, answer.json()["code"]) == (422, "TamperedContent")
    assert run["artifact"] in answer.json()["detail"]
    assert "[1, 2, 4]" not in answer.text


async def test_a_run_does_not_think_with_an_altered_transcript(stack: Platform) -> None:
    ref = await stack.publish(thinker("thinks-twice", steps=THINKS_TWICE))
    async with with_model(stack.settings):
        run = await stack.start(ref, {})

        async def napping() -> None:
            assert (
                await query_rows(stack.settings, "SELECT FROM effects WHERE run = $1 AND kind = 'tool.invoke'", run)
                != []
            )

        await eventually(napping, seconds=60)
        altered = await query_rows(
            stack.settings,
            "UPDATE content_blobs SET data = data || ' '::bytea FROM runs "
            "WHERE runs.id = $1 AND content_blobs.created_at >= runs.created_at RETURNING content_blobs.digest",
            run,
        )
        ended = await stack.until(run, seconds=60)
    assert altered != []
    assert ended["status"] == "failed"
    assert ended["reason"].startswith("TamperedContent: ")
    assert any(row["digest"] in ended["reason"] for row in altered)
