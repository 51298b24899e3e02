"""Governance plugin: puts the gate before the activities of another Temporal application.

    from somagent.governance import Application, Terms, governance

Each name is imported when it is first used: a workflow file that imports `execute_with_approval` does not load the
database driver and the solver, which the plugin needs.
"""

import sys
from importlib.util import find_spec
from pathlib import PurePath
from typing import TYPE_CHECKING

__all__ = [
    "Action",
    "Amounts",
    "Application",
    "GovernancePlugin",
    "Settings",
    "Terms",
    "execute_with_approval",
    "governance",
    "governed",
    "on_behalf_of",
    "report_usage",
    "requested_approval",
]

if TYPE_CHECKING:  # a type checker does not see `__getattr__`, so it refuses all other names
    from capsules.actions.action import Action
    from capsules.actions.activity_context import report_usage
    from capsules.budgets.amounts import Amounts
    from capsules.governance.application import Application, Terms
    from capsules.governance.governed import governed
    from somagent.governance.client_interceptor import on_behalf_of
    from somagent.governance.plugin import GovernancePlugin, governance
    from somagent.governance.wait_for_approval import execute_with_approval, requested_approval
    from somagent.settings import Settings
else:
    _MODULES = {
        "Action": "capsules.actions.action",
        "Amounts": "capsules.budgets.amounts",
        "Application": "capsules.governance.application",
        "GovernancePlugin": "somagent.governance.plugin",
        "Settings": "somagent.settings",
        "Terms": "capsules.governance.application",
        "execute_with_approval": "somagent.governance.wait_for_approval",
        "governance": "somagent.governance.plugin",
        "governed": "capsules.governance.governed",
        "on_behalf_of": "somagent.governance.client_interceptor",
        "report_usage": "capsules.actions.activity_context",
        "requested_approval": "somagent.governance.wait_for_approval",
    }

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # `__import__`, not importlib: Temporal's workflow sandbox intercepts only the function behind `import`.
        return getattr(__import__(_MODULES[name], fromlist=(name,)), name)


def _refuse_shadowed(package: str) -> None:
    """Raise ImportError when Python finds a module of the application under the name of one of our packages."""
    loaded = sys.modules.get(package)
    found = getattr(loaded, "__file__", None) if loaded else getattr(find_spec(package), "origin", None)
    if found is None or PurePath(found).parent != PurePath(__file__).parents[2] / package:
        raise ImportError(
            f"The governance plugin needs its own package {package!r}, but Python finds {found or 'no file'} under "
            "that name: rename it, or move it into a package of yours.",
            name=package,
            path=found,
        )


for _package in ("capsules", "policy"):
    _refuse_shadowed(_package)
