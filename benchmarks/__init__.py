"""How fast the system is on this machine: `make bench`, or `python -m benchmarks --help`."""
