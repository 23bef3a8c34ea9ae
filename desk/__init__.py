"""What the admin's pages and the commands of all packages are made of."""
