"""The pages and JSON bodies of our own."""
