"""Language models: profiles by role, one client for any OpenAI-compatible server, and its failures as ours."""
