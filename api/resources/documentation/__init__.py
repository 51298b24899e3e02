"""The page that shows the API's operations."""
