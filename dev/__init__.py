"""What `make` runs: set-up, private servers, the development system, the tests. Nothing of it ships."""
