"""Every place that writes for an operator, each with a case that brings prompts and keys to it."""
