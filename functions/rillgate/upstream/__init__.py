"""Floor 3: the only HTTP client, with its timeouts and its error mapping."""
