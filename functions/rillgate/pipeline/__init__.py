"""Floor 4: one request's way through, from the parsed request to the settled record."""
