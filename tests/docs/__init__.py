"""Tries out what the documentation says: its links, its names, its examples."""
