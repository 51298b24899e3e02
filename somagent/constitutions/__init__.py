"""SomaBrain: what it is told and asked over HTTP, and what it honestly cannot do."""
