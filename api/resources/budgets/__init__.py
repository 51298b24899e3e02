"""Budget accounts of the tenant, of projects and of runs, and raises."""
