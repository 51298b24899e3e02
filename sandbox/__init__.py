"""Where tools run: real containers behind hard walls, never an imitation and never the host. Knows `capsules` only."""
