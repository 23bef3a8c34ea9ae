"""The settings of the shared packages' tests are not tests themselves, though their names begin with `test_`."""

collect_ignore = ["test_settings.py", "test_urls.py"]
