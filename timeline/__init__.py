"""Everything that happened to one order, in both services."""
