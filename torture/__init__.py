"""Breaks the running system in every way we know, and asks after each whether an order was lost: `make torture`."""
