"""The first page of the admin: how the pipeline stands."""
