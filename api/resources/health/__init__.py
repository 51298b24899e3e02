"""Health, readiness and metrics of the process."""
