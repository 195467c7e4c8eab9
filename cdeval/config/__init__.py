"""The configuration: its schema, choices, ranges, and the setting that shapes a text."""
