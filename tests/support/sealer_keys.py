"""Sealer keys for a test: the private key in a directory of its own, the public one in the common directory."""

from pathlib import Path

from capsules.digest import Digest
from somagent.identity.keys import KeyRing, verify_signature


class SealerKeys:
    """Signs as the sealer does, and checks as an auditor does."""

    def __init__(self, directory: Path) -> None:
        common = directory / "common"
        common.mkdir(mode=0o700)
        self.own = KeyRing.create_separate(directory / "own", "sealer", common)
        self.public = KeyRing.load(common)

    def sign(self, digest: Digest) -> tuple[str, str]:
        signed = self.own.sign("sealer", digest.encode())
        return signed.key_id, signed.value

    def checks(self, key_id: str, text: str, signature: str) -> bool:
        return verify_signature(self.public.verifier("sealer", key_id), text.encode(), signature)
