"""Clients that nobody here wrote, driven by the tests: Go's LiveKit SDK and a browser."""
