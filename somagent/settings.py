"""Settings of every process, read once from the environment, typed and frozen.

Setting `x` is the environment variable `SOMAGENT_X`. The defaults describe the local stack. To replace a part of it (a
database, a Temporal cluster, a model server), set its address. Nothing else reads the environment.
"""

import os
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from capsules.errors import Invalid
from capsules.tools.tool import SeccompProfile

Port = Annotated[int, Field(ge=1, le=65535)]
SecretReferenceText = Annotated[str, Field(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$")]
IPNetworkText = Annotated[str, AfterValidator(lambda text: str(ip_network(text)))]
NotifiedType = Annotated[str, Field(pattern=r"^(approval|budget|constitution|delegation|grant)\.[a-z]+$")]


class Settings(BaseSettings):
    """Addresses of the parts and their behaviour. Raises pydantic's ValidationError for wrong values."""

    model_config = SettingsConfigDict(env_prefix="SOMAGENT_", env_file=None, frozen=True, extra="ignore")

    def __init__(self, **values: Any) -> None:  # noqa: ANN401 - no value is required, also for type checkers
        super().__init__(**values)

    home: Path = Field(Path(".somagent"), description="Directory of the local stack: data, keys, logs, credentials.")
    host: str = Field(
        "127.0.0.1", description="Address that the local stack listens on. Loopback unless you say otherwise."
    )

    people: dict[str, tuple[str, ...]] = Field(
        {},
        description="More principals of the local stack, a JSON object of name and capabilities: "
        '`{"sam": ["approval:read", "approval:security"]}`.',
    )

    # Local stack: ports
    api_port: Port = Field(8080, description="Port of the API.")
    temporal_port: Port = Field(7233, description="Port of the local Temporal server.")
    temporal_ui_port: Port = Field(8233, description="Port of the local Temporal UI.")
    postgres_port: Port = Field(5439, description="Port of the local PostgreSQL.")
    valkey_port: Port = Field(6389, description="Port of the local Valkey.")
    slm_port: Port = Field(8811, description="Port of the local llama.cpp server.")
    worker_metrics_port: Port | None = Field(
        None, description="Port where the local worker serves `/metrics` for Prometheus. Unset: it does not."
    )
    tools_metrics_port: Port | None = Field(None, description="The same for the local worker that runs the tools.")

    # Parts that can be replaced: an address here means that the local stack does not start its own.
    temporal_address: str | None = Field(None, description="host:port of a Temporal frontend. Unset: the local one.")
    temporal_namespace: str = Field("default", description="Temporal namespace.")
    temporal_dynamic_config: tuple[str, ...] = Field(
        (), description="Further dynamic configuration of the local Temporal server, a JSON list of `key=value`."
    )
    database_url: SecretStr | None = Field(
        None, description="postgresql+asyncpg://… of the application role. Unset: the local PostgreSQL."
    )
    database_owner_url: SecretStr | None = Field(
        None,
        description="postgresql+asyncpg://… of the owner role, for migrations only. Unset: the local PostgreSQL.",
    )
    database_relay_url: SecretStr | None = Field(
        None, description="postgresql+asyncpg://… of the relay role. Unset: the local PostgreSQL."
    )
    database_sealer_url: SecretStr | None = Field(
        None, description="postgresql+asyncpg://… of the sealer role. Unset: the local PostgreSQL."
    )
    sealer_keys: Path | None = Field(
        None,
        description="Directory of the sealer's private key, which no other process reads. Unset: beside the home's.",
    )
    seal_every_seconds: float = Field(
        1.0, gt=0, le=3600, description="How often new receipts and audit entries are closed into a signed audit block."
    )
    anchor_file: Path | None = Field(
        None,
        description="File that each block's digest is appended to, best on a disk that only grows. Unset: in the home.",
    )
    anchor_url: str | None = Field(
        None,
        description="Where blocks' digests are put too, by HTTP PUT to `{url}/{tenant}/{height}`. Unset: nowhere.",
    )
    redis_url: SecretStr | None = Field(None, description="redis://… of Valkey or Redis. Unset: the local Valkey.")
    slm_url: str | None = Field(
        None, description="OpenAI-compatible base URL ending in /v1. Unset: the local llama.cpp."
    )
    slm_model: str = Field("smollm2-135m-instruct", description="Model name sent to the model server.")
    slm_api_key: SecretStr | None = Field(None, description="API key of the model server, if it wants one.")
    slm_window: int = Field(
        4096, ge=256, description="Tokens that the model reads and writes at once, input and output together."
    )
    price_book: Path | None = Field(
        None,
        description="Price book of models, a YAML file (docs/budgets.md). Unset: models without a price in their "
        "profile are free.",
    )
    slm_profiles: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="JSON object: for each model role the fields that differ from the default model: `provider`, "
        "`model`, `base_url`, `api_key`, `window`, `input_price` and `output_price` in micro-dollars per million "
        "tokens, `dialect`.",
    )
    api_url: str | None = Field(None, description="Base URL of the API, for the CLI. Unset: the local one.")
    token: SecretStr | None = Field(
        None, description="Bearer token or API key of the CLI. Unset: the local operator's."
    )

    # Behaviour
    sandbox_image: str = Field("somagent-sandbox:bookworm", description="Image that container tools run in.")
    docker_host: str = Field(
        "unix:///var/run/docker.sock", description="Address of the Docker engine: `unix:///path` or `tcp://host:port`."
    )
    sandbox_runtime: str | None = Field(
        None, description="Docker runtime for sandboxes, `runsc` for gVisor. Unset: the engine's default."
    )
    sandbox_profiles: dict[str, SeccompProfile] = Field(
        default_factory=dict,
        description="Seccomp profile by image, as JSON: `script`, or `browser` for an image whose program is one. An "
        "image that is not named gets `script`.",
    )
    max_body_bytes: int = Field(1_048_576, ge=1024, description="Largest request body that the API takes, in bytes.")
    rate_limit_per_minute: int = Field(1200, ge=1, description="Requests a minute for each principal.")
    refresh_days: int = Field(
        30, ge=1, le=365, description="How long access tokens can be renewed before a new sign-in, in days."
    )
    dpop_nonce: bool = Field(
        False, description="Whether DPoP proofs need a nonce of ours, so that none can be made in advance."
    )
    client_certificate_header: str = Field(
        "",
        description="Header in which a TLS proxy passes the client's certificate: `Client-Cert` (RFC 9440), or one "
        "with PEM in `%` escapes. Empty: none.",
    )
    trusted_proxies: tuple[IPNetworkText, ...] = Field(
        (), description="Addresses or networks of proxies whose certificate header is believed, a JSON list."
    )
    prune_seconds: int = Field(
        3600, ge=1, description="How often content that was kept long enough is deleted, in seconds."
    )
    authority_days: int = Field(30, ge=1, le=365, description="How long the authority of a run is valid, in days.")

    # Notifications: off until a webhook or a recipient is set.
    notify_events: tuple[NotifiedType, ...] = Field(
        (
            "approval.requested",
            "approval.escalated",
            "approval.decided",
            "approval.expired",
            "budget.requested",
            "constitution.proposed",
        ),
        description="Types of the events that people are notified of: `approval.…`, `budget.…`, `grant.…`, "
        "`delegation.…`, `constitution.…`.",
    )
    notify_webhook_url: SecretStr | None = Field(
        None, description="https://… that gets a signed POST for each notification. Unset: none."
    )
    notify_webhook_secret: SecretReferenceText | None = Field(
        None, description="Place of the webhook's shared secret: `env:NAME` or `file:/path`."
    )
    notify_reach: Literal["public", "loopback", "private"] = Field(
        "public",
        description="Where the webhook may be: only public addresses, also this machine, or also private networks.",
    )
    notify_mail_to: tuple[str, ...] = Field((), description="E-mail addresses to tell, a JSON list. Empty: none.")
    notify_mail_from: str | None = Field(None, description="Sender of e-mails.")
    notify_smtp_host: str = Field("127.0.0.1", description="Mail server.")
    notify_smtp_port: Port = Field(25, description="Port of the mail server.")
    notify_smtp_tls: Literal["starttls", "tls", "none"] = Field(
        "starttls",
        description="How the connection to the mail server is encrypted; `none` is for one on this machine.",
    )
    notify_smtp_user: str | None = Field(None, description="User at the mail server. Unset: no login.")
    notify_smtp_password: SecretReferenceText | None = Field(
        None, description="Place of that user's password: `env:NAME` or `file:/path`."
    )

    platform_tenant: str = Field(
        "local", description="Tenant whose principals may change everybody's constitution, and try one on a tenant."
    )
    constitution_signatures: int = Field(
        1, ge=1, le=20, description="How many different constitution keys must have signed a constitution."
    )
    constitution_approvals: int = Field(
        1, ge=1, le=20, description="How many people, none of them the proposer, must approve a constitution."
    )
    constitution_approval_hours: int = Field(
        72, ge=1, le=720, description="How long a proposed constitution waits for approval, in hours."
    )
    constitution_proof_seconds: float = Field(
        10.0, gt=0, le=300, description="How long each proof of a proposed constitution may take, in seconds."
    )
    somabrain_url: str = Field(
        "",
        description="Base URL of a SomaBrain that gets each constitution of all tenants. Empty: none.",
    )
    trace_dir: Path | None = Field(
        None, description="Directory for OpenTelemetry spans, a JSON line each. Unset: no tracing."
    )
    log_level: str = Field("info", description="debug, info, warning or error.")

    @model_validator(mode="after")
    def _require_whole_channels(self) -> Self:
        """Refuse a notification channel that is only half configured: it would seem to work."""
        for name, other in (
            ("webhook_url", "webhook_secret"),
            ("mail_to", "mail_from"),
            ("smtp_user", "smtp_password"),
        ):
            if getattr(self, f"notify_{name}") and not getattr(self, f"notify_{other}"):
                raise ValueError(
                    f"SOMAGENT_NOTIFY_{name.upper()} is set, so SOMAGENT_NOTIFY_{other.upper()} must be set too"
                )
        if self.client_certificate_header and not self.trusted_proxies:
            raise ValueError(
                "SOMAGENT_CLIENT_CERTIFICATE_HEADER is set, so SOMAGENT_TRUSTED_PROXIES must be set too: else anybody "
                "could send the header"
            )
        return self

    def temporal_target(self) -> str:
        """Return `host:port` of the Temporal frontend."""
        return self.temporal_address or f"{self.host}:{self.temporal_port}"

    def api_base(self) -> str:
        """Return the base URL of the API, without a slash at the end."""
        return (self.api_url or f"http://{self.host}:{self.api_port}").rstrip("/")

    def slm_base(self) -> str:
        """Return the base URL of the model server, without a slash at the end."""
        return (self.slm_url or f"http://{self.host}:{self.slm_port}/v1").rstrip("/")

    def redis_target(self) -> str:
        """Return the URL of Valkey or Redis."""
        return self.redis_url.get_secret_value() if self.redis_url else f"redis://{self.host}:{self.valkey_port}/0"

    def database(self, role: str) -> str:
        """Return the database URL of a role: `owner`, `app`, `relay` or `sealer`.

        Each role of the local PostgreSQL has a generated password in a file of the keys directory. Raises OSError when
        that file is missing.
        """
        given = {
            "owner": self.database_owner_url,
            "app": self.database_url,
            "relay": self.database_relay_url,
            "sealer": self.database_sealer_url,
        }[role]
        if given is not None:
            return given.get_secret_value()
        password = (self.keys_dir / f"postgres-{role}.password").read_text().strip()
        return f"postgresql+asyncpg://somagent_{role}:{password}@{self.host}:{self.postgres_port}/somagent"

    @property
    def keys_dir(self) -> Path:
        """Directory of generated keys and passwords, mode 0700."""
        return self.home / "keys"

    @property
    def sealer_keys_dir(self) -> Path:
        """Directory of the sealer's private key, mode 0700."""
        return self.sealer_keys or self.home / "sealer"

    @property
    def anchors(self) -> Path:
        """The file of anchored block digests, one JSON document a line."""
        return self.anchor_file or self.home / "anchors.jsonl"

    @property
    def container_scope(self) -> str:
        """Label `somagent.scope` of the containers of this home, which other homes do not touch."""
        return str(self.home.absolute())

    @property
    def credentials_file(self) -> Path:
        """JSON file with the local principals' tokens, mode 0600."""
        return self.home / "credentials.json"


@dataclass(frozen=True)
class SecretReference:
    """The place of a secret, which is read at each use: `env:NAME`, or `file:/path` for the first line of a file."""

    reference: str

    def read(self, *, shortest: int = 1) -> str:
        """Return the secret. Raises Invalid when it is missing or has fewer than `shortest` characters."""
        kind, _, place = self.reference.partition(":")
        match kind:
            case "env":
                found = os.environ.get(place, "")
            case "file":
                found = self._read_file(Path(place))
            case _:
                raise Invalid(f"{self.reference!r} is no reference to a secret; write env:NAME or file:/path.")
        if len(found) < shortest:
            raise Invalid(f"The secret at {self.reference!r} has {len(found)} characters; {shortest} are needed.")
        return found

    def _read_file(self, path: Path) -> str:
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"The secret at {self.reference!r} cannot be read: {error}") from error
        return lines[0].strip() if lines else ""
