"""What `make` runs: set-up, private servers, the development system, the tests. None of it ships."""
