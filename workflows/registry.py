"""Every workflow type there is."""

from workflows.capsule import RunCapsule
from workflows.constitution import ActivateConstitution
from workflows.project import RunProject

WORKFLOWS = (RunCapsule, RunProject)
"""Runs of capsules."""
PLATFORM_WORKFLOWS = (ActivateConstitution,)
"""The platform's own: no run, no authority."""
