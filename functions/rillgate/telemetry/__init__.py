"""Floor 3: logs, metrics, clock and ids."""
