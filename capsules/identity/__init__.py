"""Identity: the authority under which a run acts."""
