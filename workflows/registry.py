"""Registry of workflow types."""

from workflows.capsule import RunCapsule
from workflows.constitution import ActivateConstitution
from workflows.project import RunProject

WORKFLOWS = (RunCapsule, RunProject)
"""Workflows that run capsules."""
PLATFORM_WORKFLOWS = (ActivateConstitution,)
"""Workflows of the platform itself. They belong to no run and have no authority."""
