"""Floor 3: the backpressure-aware writer over ASGI send, heartbeats and the disconnect watch."""
