"""Against a real LiveKit server, with clients that nobody here wrote."""
