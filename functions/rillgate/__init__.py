"""Rillgate: stream any LLM to your front end, with spending limits that cut a stream before it overspends."""

__version__ = "0.1.0"
