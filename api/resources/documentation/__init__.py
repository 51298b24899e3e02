"""Documentation page of the API."""
