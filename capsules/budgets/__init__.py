"""Budgets: amounts in whole numbers, accounts and rates, usage reports."""
