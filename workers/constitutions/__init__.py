"""Activation of constitutions: the activation service and the version guard."""
