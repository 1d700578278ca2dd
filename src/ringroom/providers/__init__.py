"""The way outside: LiveKit, the fake, and whatever third parties register."""
