"""Takes orders over HTTP, keeps them, and learns from the processor how they ended."""
