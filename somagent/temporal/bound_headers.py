"""Client interceptor: encrypts the headers of a call and binds them to its workflow, as the payload codec does.

The SDK encodes a client's headers without context. Unbound, the workflow would refuse to read them.
"""

from collections.abc import Mapping
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Interceptor,
    OutboundInterceptor,
    QueryWorkflowInput,
    SignalWorkflowInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    WorkflowHandle,
    WorkflowUpdateHandle,
)
from temporalio.converter import WorkflowSerializationContext

from somagent.temporal.codec import EncryptionCodec


class HeaderBinding(Interceptor):
    """Binds the headers of a client's calls; the last of its interceptors, because others add headers."""

    def __init__(self, namespace: str, codec: EncryptionCodec) -> None:
        self._namespace = namespace
        self._codec = codec

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's name
        return _Outbound(next, self._namespace, self._codec)


class _Outbound(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, namespace: str, codec: EncryptionCodec) -> None:  # noqa: A002
        super().__init__(next)
        self._namespace = namespace
        self._codec = codec

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
        input.headers = await self._bind(input.headers, input.id)
        return await super().start_workflow(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        input.headers = await self._bind(input.headers, input.id)
        return await super().query_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:  # noqa: A002
        input.headers = await self._bind(input.headers, input.id)
        await super().signal_workflow(input)

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:  # noqa: A002
        input.headers = await self._bind(input.headers, input.id)
        return await super().start_workflow_update(input)

    async def start_update_with_start_workflow(
        self,
        input: StartWorkflowUpdateWithStartInput,  # noqa: A002
    ) -> WorkflowUpdateHandle[Any]:
        start, update = input.start_workflow_input, input.update_workflow_input
        start.headers = await self._bind(start.headers, start.id)
        update.headers = await self._bind(update.headers, start.id)
        return await super().start_update_with_start_workflow(input)

    async def _bind(self, headers: Mapping[str, Payload], workflow: str) -> Mapping[str, Payload]:
        if not headers:
            return headers
        codec = self._codec.with_context(WorkflowSerializationContext(self._namespace, workflow))
        return dict(zip(headers, await codec.encode(list(headers.values())), strict=True))
