"""Floor 5: several processes that serve on one socket and one ledger, and the one that keeps them."""
