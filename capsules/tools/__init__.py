"""Tools: definitions, calls, results, and the ports that run them."""
