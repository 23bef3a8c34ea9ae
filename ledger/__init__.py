"""The ledger: the two services compare what they know of every order, so that none is missing unnoticed."""
