"""Response bodies of the budget routes."""

from capsules.base_model import FrozenModel
from capsules.budgets.account import Account
from capsules.budgets.amounts import Amounts
from somagent.db.repositories.accounts import Breach, LedgerEntry


class BudgetResponse(FrozenModel):
    """An account, the amounts left, and its last entries, oldest first."""

    account: Account
    left: Amounts
    entries: tuple[LedgerEntry, ...]


class LedgerCheckResponse(FrozenModel):
    """The breaches in the tenant's ledger. The ledger holds when there are none."""

    holds: bool
    breaches: tuple[Breach, ...]
