"""Telemetry: OpenTelemetry spans of starts, workflows and activities in a file for each process, and process metrics.

A file has one JSON document on each line. Spans contain names, ids, decisions and scores; never inputs, outputs or
tokens. Replays add no span, because Temporal's tracing interceptor recognises them.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from temporalio.client import Interceptor
from temporalio.contrib.opentelemetry import TracingInterceptor

from somagent.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Log to standard output, at the level of the settings.

    Tracebacks are plain: structlog's own show local variables, and those can hold tokens and contents.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
    )


@contextmanager
def tracing(settings: Settings, process: str) -> Iterator[None]:
    """Write the spans of this process below `trace_dir` while the context is open; do nothing when it is unset."""
    if settings.trace_dir is None:
        yield
        return
    settings.trace_dir.mkdir(parents=True, exist_ok=True)
    path = settings.trace_dir / f"{process}-{os.getpid()}.jsonl"
    with path.open("a", encoding="utf-8") as file:
        exporter = ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(indent=None) + "\n")
        provider = TracerProvider(resource=Resource.create({"service.name": f"somagent-{process}"}))
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
        trace.set_tracer_provider(provider)
        try:
            yield
        finally:
            provider.shutdown()


def temporal_interceptors(settings: Settings) -> list[Interceptor]:
    """Return the tracing interceptors of a client. A worker takes them from its client and must not get them again."""
    return [TracingInterceptor()] if settings.trace_dir is not None else []


class ProcessMetrics:
    """Prometheus metrics of one process, in a registry of their own. Times are in seconds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def histogram(self, name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def text(self) -> str:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry).decode()
