"""Floor 2: one module for each API family; requests out, frames to deltas. Pure."""
