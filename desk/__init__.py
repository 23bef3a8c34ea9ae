"""What the admin pages and the commands of all packages are built from."""
