"""Floor 0: plain frozen types and the ports. No I/O, no clock, no randomness, no logging."""
