"""The demonstration. See `__main__`."""
