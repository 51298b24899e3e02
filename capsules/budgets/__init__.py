"""Budgets: amounts as whole numbers, accounts, rate limits and usage reports."""
