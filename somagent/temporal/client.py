"""The connection to Temporal."""

from temporalio.client import Client
from temporalio.common import HeaderCodecBehavior
from temporalio.service import RPCError

from capsules.errors import Unavailable
from somagent.identity.keys import KeyRing
from somagent.settings import Settings
from somagent.telemetry import temporal_interceptors
from somagent.temporal.plugin import PURE_PACKAGES, somagent_plugin


async def connect(settings: Settings, keyring: KeyRing, *, pass_through: tuple[str, ...] = PURE_PACKAGES) -> Client:
    """Return a client whose payloads, failures and headers are encrypted. Raises Unavailable naming the address."""
    try:
        return await Client.connect(
            settings.temporal_target(),
            namespace=settings.temporal_namespace,
            plugins=[somagent_plugin(keyring, pass_through=pass_through)],
            header_codec_behavior=HeaderCodecBehavior.CODEC,
            interceptors=temporal_interceptors(settings),
        )
    except (RuntimeError, RPCError) as error:
        raise Unavailable(f"Temporal does not answer at {settings.temporal_target()}: {error}") from error
