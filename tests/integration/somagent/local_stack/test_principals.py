"""Further principals of the local stack, with the roles that a constitution asks for by name."""

import json

import pytest
from constitutions import key_ring
from servers import running, settings_in, temporary_home

from capsules.errors import Invalid
from somagent.db.database import open_database
from somagent.identity.capabilities import local_people
from somagent.identity.keys import KeyRing
from somagent.identity.tokens import Tokens
from somagent.local_stack.bootstrap import TENANT, bootstrap
from workers.bootstrap import prove_shipped


async def test_named_people_are_principals_with_tokens_and_change_with_the_settings() -> None:
    with temporary_home() as home:
        settings = settings_in(home, people={"sam": ("approval:read", "approval:security")})
        async with running(settings, "postgres"):
            await bootstrap(settings, prove_shipped)
            weaker = settings.model_copy(update={"people": {"sam": ("approval:read",)}})
            for now, held in ((settings, {"approval:read", "approval:security"}), (weaker, {"approval:read"})):
                await bootstrap(now, prove_shipped)
                tokens = json.loads(now.credentials_file.read_text())
                assert tokens.keys() == {"operator", "approver", "sam"}
                sam = Tokens(KeyRing.load(now.keys_dir)).verify_access(tokens["sam"]["token"]).claims
                assert (sam.subject, sam.capabilities) == ("sam", None), "what it may do, the database says at use"
                async with open_database(now.database("app"), keys=key_ring(now)) as db, db.transaction(TENANT) as tx:
                    known = {p.subject: p.capabilities for p in await tx.principals.list()}
                assert known["sam"] == held


@pytest.mark.parametrize(
    ("people", "why"),
    [
        ({"approver": ("approval:read",)}, "whom every local stack has"),
        ({"sam": ("approval:Everything",)}, "'approval:Everything', which is no capability"),
        ({"sam": ("root",)}, "'root', which is no capability"),
    ],
)
def test_people_who_cannot_be_are_refused_with_the_reason(people: dict[str, tuple[str, ...]], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        local_people("local", people)
