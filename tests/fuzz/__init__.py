"""Every parser that reads from outside, fed with what nobody would send: see `target` for what must hold."""
