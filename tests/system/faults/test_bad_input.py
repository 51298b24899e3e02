"""What is refused leaves nothing behind: no row in any table of any tenant, and no workflow."""

import base64
import json
import time
from typing import Any

import pytest
from capsule_texts import utility
from outages import row_counts
from platforms import Platform
from temporalio.client import Client

from somagent.identity.capabilities import CAPABILITIES
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import AccessClaims, Tokens

YAML = {"content-type": "application/yaml"}
GOOD = utility("never-entered", "print(1)")
TAKES_TEXT = utility("takes-text", "print(1)").replace(
    "inputs: {type: object}",
    "inputs: {type: object, required: [text], additionalProperties: false, properties: {text: {type: string}}}",
)
TWO_FAULTS = GOOD.replace("type: utility", "type: magic").replace("max_steps: 2", "max_steps: 0")

REFUSED: dict[str, tuple[dict[str, Any], int, tuple[str, ...]]] = {
    "a file that is no YAML": ({"content": "spec: [", "headers": YAML}, 422, ("line",)),
    "a file with two faults": (
        {"content": TWO_FAULTS, "headers": YAML},
        422,
        ("spec.type", "spec.guardrails.max_steps"),
    ),
    "an unknown tool": ({"content": GOOD.replace("python@1", "chisel@1"), "headers": YAML}, 422, ("chisel",)),
    "an unknown persona": (
        {"content": GOOD.replace("  intent:", "  persona: nobody@1\n  intent:"), "headers": YAML},
        422,
        ("nobody",),
    ),
    "an oversize body": ({"content": GOOD + "#" * 1_100_000, "headers": YAML}, 413, ("1048576",)),
}


@pytest.fixture
async def nothing_written(stack: Platform, temporal: Client) -> Any:
    """What the test leaves in tables and in Temporal is what it found."""
    await stack.publish(TAKES_TEXT)
    before = (await row_counts(stack.settings), (await temporal.count_workflows()).count)
    yield
    assert (await row_counts(stack.settings), (await temporal.count_workflows()).count) == before


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize("what", REFUSED)
async def test_a_capsule_that_is_refused_names_why(stack: Platform, what: str) -> None:
    request, status, named = REFUSED[what]
    answer = await stack.operator.post("/v1/capsules", **request)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    for word in named:
        assert word in answer.text


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("ref", "body", "status", "named"),
    [
        ("takes-text@1", {"inputs": {"text": 7}}, 422, "inputs.text"),
        ("takes-text@1", {"inputs": {}}, 422, "text"),
        ("takes-text@1", {"inputs": {"text": "a", "colour": "red"}}, 422, "colour"),
        ("takes-text@1", {"inputs": {"text": "a"}, "budget": {"tokens": -1}}, 422, "budget.tokens"),
        ("takes-text@9", {"inputs": {"text": "a"}}, 404, "takes-text@9"),
        ("no-such-thing@1", {"inputs": {}}, 404, "no-such-thing"),
    ],
)
async def test_a_start_that_is_refused_starts_nothing(
    stack: Platform, ref: str, body: dict[str, Any], status: int, named: str
) -> None:
    answer = await stack.operator.post(f"/v1/capsules/{ref}/runs", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert named in answer.text


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize("what", ["expired", "forged", "altered", "unknown tenant", "unknown family"])
async def test_a_token_that_is_refused_writes_nothing(stack: Platform, what: str, tmp_path: Any) -> None:
    ours = Tokens(KeyRing.load(stack.settings.keys_dir))
    ana = AccessClaims(tenant="local", subject="ana", capabilities=frozenset(CAPABILITIES), family="f")
    good = ours.mint_access(ana, 600)
    token, status, named = {
        "expired": (ours.mint_access(ana, 60, issued_at=int(time.time()) - 3600), 401, "expired"),
        "forged": (Tokens(KeyRing.create_missing(tmp_path / "keys")).mint_access(ana, 600), 401, "issuer key"),
        "altered": (_as_somebody_else(good), 401, "forged or altered"),
        "unknown tenant": (ours.mint_access(ana.model_copy(update={"tenant": "nowhere"}), 600), 401, "tenant"),
        "unknown family": (good, 401, "family"),
    }[what]
    for path, request in (
        ("/v1/capsules", {"content": GOOD, "headers": YAML}),
        ("/v1/capsules/takes-text@1/runs", {"json": {"inputs": {"text": "a"}}, "headers": {}}),
    ):
        headers = {**request["headers"], "Authorization": f"Bearer {token}"}  # type: ignore[dict-item]
        answer = await stack.operator.post(path, auth=None, **{**request, "headers": headers})  # type: ignore[arg-type]
        assert answer.status_code == status, answer.text
        if path == "/v1/capsules":
            assert named in answer.json()["detail"]


def _as_somebody_else(token: str) -> str:
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    claims["body"]["subject"] = "approver"
    altered = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"{head}.{altered}.{signature}"
