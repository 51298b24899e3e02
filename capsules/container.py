"""What runs in a sandbox, and what came out."""

from pydantic import BaseModel, ConfigDict, Field

from capsules.tool import ContainerLimits

STRICT = ConfigDict(frozen=True, extra="forbid")


class ContainerSpec(BaseModel):
    model_config = STRICT

    image: str
    command: tuple[str, ...] = Field(min_length=1)
    files: dict[str, str | bytes] = Field(
        default_factory=dict, description="Relative paths below the working directory."
    )
    stdin: str = ""
    limits: ContainerLimits = ContainerLimits()
    labels: dict[str, str] = Field(default_factory=dict)


class ContainerResult(BaseModel):
    model_config = STRICT

    exit_code: int
    stdout: str
    stderr: str
    truncated: bool = False
    timed_out: bool = False
    out_of_memory: bool = False
    duration_ms: int = 0
