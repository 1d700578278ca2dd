"""LiveKit media for CPU-heavy Python."""
