"""Temporal configuration: the connection, and one plugin with converter, codec and sandbox, also for the replayer."""

from collections.abc import Collection
from dataclasses import replace

from pydantic import ValidationError
from temporalio.client import Client
from temporalio.common import HeaderCodecBehavior
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes
from temporalio.plugin import SimplePlugin
from temporalio.service import RPCError
from temporalio.worker import WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from capsules.errors import SomaError, Unavailable
from somagent.identity.keys import KeyRing
from somagent.settings import Settings
from somagent.telemetry import temporal_interceptors
from somagent.temporal.bound_headers import HeaderBinding
from somagent.temporal.codec import EncryptionCodec
from somagent.temporal.converter import AuthenticPayloadConverter

# Not reloaded for each run: four times faster, and a quarter of the memory with 60 models. Safe only because these
# packages are pure; a test runs every workflow with this tuple empty.
PURE_PACKAGES = ("activities", "capsules")

# Libraries that the pure packages use: no clock, no network, no randomness in what we call.
PURE_LIBRARIES = (
    "cel",  # expression evaluator, Rust; a native module cannot be loaded twice
    "rfc8785",  # canonical JSON
    "jsonschema",  # imported beside the activities that validate; workflows never call it
    "jsonschema_specifications",
    "referencing",
    "rpds",
    "opentelemetry",  # used by the tracing interceptor, which adds no span in a replay
    "attr",
    "attrs",
)


def data_converter(keyring: KeyRing, *, unbound: Collection[str] = ()) -> DataConverter:
    """Return the pydantic converter with the encryption codec, which also encrypts failures.

    unbound: ids of the workflows whose payloads may lack a binding, as in `EncryptionCodec`.
    """
    return replace(
        pydantic_data_converter,
        payload_converter_class=AuthenticPayloadConverter,
        payload_codec=EncryptionCodec(keyring.codec, unbound),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


def workflow_runner(pass_through: tuple[str, ...] = PURE_PACKAGES) -> WorkflowRunner:
    """Return the sandboxed runner of workflows. pass_through: packages that it does not reload for each run."""
    return SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules(*PURE_LIBRARIES, *pass_through)
    )


def somagent_plugin(
    keyring: KeyRing, *, pass_through: tuple[str, ...] = PURE_PACKAGES, unbound: Collection[str] = ()
) -> SimplePlugin:
    """Return the plugin for `Client.connect`, `Worker` and `Replayer`. unbound: as in `data_converter`.

    Payloads are bound to their namespace: give a `Replayer` that of the history, since it has another one by default.
    """
    return SimplePlugin(
        "somagent",
        data_converter=data_converter(keyring, unbound=unbound),
        workflow_runner=workflow_runner(pass_through),
        workflow_failure_exception_types=[SomaError, ValidationError],
    )


async def connect(
    settings: Settings,
    keyring: KeyRing,
    *,
    pass_through: tuple[str, ...] = PURE_PACKAGES,
    unbound: Collection[str] = (),
) -> Client:
    """Return a client whose payloads, failures and headers are encrypted. Raises Unavailable naming the address."""
    binding = HeaderBinding(settings.temporal_namespace, EncryptionCodec(keyring.codec))
    try:
        return await Client.connect(
            settings.temporal_target(),
            namespace=settings.temporal_namespace,
            plugins=[somagent_plugin(keyring, pass_through=pass_through, unbound=unbound)],
            header_codec_behavior=HeaderCodecBehavior.CODEC,
            interceptors=[*temporal_interceptors(settings), binding],
        )
    except (RuntimeError, RPCError) as error:
        raise Unavailable(f"Temporal does not answer at {settings.temporal_target()}: {error}") from error
