"""Floor 3: from a credential to a principal."""
