"""The events on the wire: versioned types. JSON Schema and AsyncAPI are generated from them (`python -m contracts`)."""
