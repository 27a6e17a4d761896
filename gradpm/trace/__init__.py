"""The trace file: schema, writer, reader and model. Imports nothing of gradpm but its errors."""
