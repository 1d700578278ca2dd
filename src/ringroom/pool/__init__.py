"""The pool: a room, an I/O process, and workers that run the user's processor."""

from ringroom.pool.options import PoolOptions
from ringroom.pool.pool import Pool, run

__all__ = ["Pool", "PoolOptions", "run"]
