"""The ways to run a LiveKit server: somebody else's, Docker Compose, a program. `testing.server`
chooses among them, and waits until the server answers.
"""
