"""How the admin writes times: as the logs do, so that an operator can compare them. For FORMAT_MODULE_PATH."""
