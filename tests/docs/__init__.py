"""What the documentation says is tried out: its links, its names, its examples."""
