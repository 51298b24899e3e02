"""Settings and keys on the audit: what differs from the shipped, no secret, and only when it changed. Real PostgreSQL."""

from pathlib import Path

from pydantic import SecretStr

from somagent.db.database import Database, open_database
from somagent.identity.keys import KeyRing
from somagent.local_stack.bootstrap import audit_installation, changed_settings, key_ids
from somagent.settings import Settings


def test_of_a_secret_only_that_it_is_set(tmp_path: Path) -> None:
    told = changed_settings(
        Settings(
            home=tmp_path,
            api_port=9,
            slm_api_key=SecretStr("hidden"),
            slm_profiles={"critique": {"model": "larger", "api_key": "hidden"}},
        )
    )
    assert (told["api_port"], told["slm_api_key"]) == (9, "set")
    assert told["slm_profiles"] == {"critique": ["api_key", "model"]}
    assert "hidden" not in str(told)
    assert "valkey_port" not in told or told["valkey_port"] != Settings.model_fields["valkey_port"].default


async def test_an_entry_is_written_when_something_changed(
    postgres_settings: Settings, owner: Database, tmp_path: Path
) -> None:
    await owner.tenants.add("audited-installation")
    keyring = KeyRing.create_missing(tmp_path / "keys")
    other = KeyRing.create_missing(tmp_path / "others")

    async def actions(settings: Settings, keys: KeyRing) -> list[str]:
        async with (
            open_database(postgres_settings.database("app"), connections=1) as db,
            db.transaction("audited-installation") as tx,
        ):
            await audit_installation(tx, settings, keys)
            return [one.action for one in (await tx.audit.list()).items if one.actor == "bootstrap"][::-1]

    first = Settings(home=tmp_path, api_port=9)
    assert await actions(first, keyring) == ["settings.changed", "keys.changed"]
    assert await actions(first, keyring) == ["settings.changed", "keys.changed"]
    assert (await actions(Settings(home=tmp_path, api_port=10), keyring))[2:] == ["settings.changed"]
    assert (await actions(Settings(home=tmp_path, api_port=10), other))[3:] == ["keys.changed"]
    assert key_ids(keyring)["sealer"] == []
