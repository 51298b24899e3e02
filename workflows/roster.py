"""Every workflow type there is."""

from workflows.capsule import RunCapsule
from workflows.project import RunProject

WORKFLOWS = (RunCapsule, RunProject)
