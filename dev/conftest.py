"""The settings of the shared packages' tests are no tests, though they are called so."""

collect_ignore = ["test_settings.py", "test_urls.py"]
