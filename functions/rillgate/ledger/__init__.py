"""Floor 3: budgets kept in a store: pure keys, items and writes, and the stores that apply them."""
