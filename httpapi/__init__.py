"""The HTTP face both services share: problems, strict JSON, pages, OpenAPI."""
