"""`rillgate doctor`'s checks: what a client of a deployed gateway sees, from the outside."""
