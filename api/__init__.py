"""The HTTP face of the platform: parses, checks who may, calls, answers. No rule of the domain lives here."""
