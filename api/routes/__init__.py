"""One resource a file; an endpoint parses, calls and returns."""
