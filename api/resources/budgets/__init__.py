"""Budget accounts of the tenant and of runs, and raises."""
