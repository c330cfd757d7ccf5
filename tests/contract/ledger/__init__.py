"""What every store of the ledger keeps to."""
