"""Identity: keys, tokens, API keys, capabilities, and signatures over digests.

This is the only package that holds private keys. It knows nothing of HTTP, the database or workflows.
"""
