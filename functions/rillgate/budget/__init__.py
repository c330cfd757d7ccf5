"""Floor 2: estimating, counting and guarding tokens. Integer arithmetic, pure."""
