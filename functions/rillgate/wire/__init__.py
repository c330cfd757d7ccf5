"""Floor 1: bytes to frames and back. Pure: values come in, values go out."""
