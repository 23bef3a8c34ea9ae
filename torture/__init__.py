"""Breaks the running system in every way we know, and checks each time whether an order was lost: `make torture`."""
