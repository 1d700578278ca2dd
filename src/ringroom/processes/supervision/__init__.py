"""Who is alive and who is replaced: the tables, who runs them, and a pool's children."""
