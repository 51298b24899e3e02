"""The activation of constitutions: its steps on the real parts, and the version guard."""
