"""Shared memory: one writer, one reader, frames in order, and counts that outlive both."""
