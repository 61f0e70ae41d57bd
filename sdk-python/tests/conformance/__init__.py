"""Runner of the conformance suite in `tests/sdk-conformance`."""
