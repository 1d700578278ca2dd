"""The I/O role: one process that owns the connections to rooms, and moves frames between them and
the lanes of readers and writers."""
