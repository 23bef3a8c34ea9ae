"""Decides the orders that the order service has taken, and announces how they ended."""
