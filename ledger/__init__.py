"""The ledger: the two services compare what they know of every order, so that none goes missing unnoticed."""
