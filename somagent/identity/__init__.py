"""Who calls and who signed: keys, tokens, API keys, capabilities and signatures over digests.

The one package that holds private keys. It knows nothing of HTTP, of the database or of workflows.
"""
