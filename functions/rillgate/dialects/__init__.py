"""Floor 2: one module for each client protocol; bodies to requests, deltas to frames. Pure."""
