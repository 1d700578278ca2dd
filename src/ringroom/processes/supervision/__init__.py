"""Which children are alive and which are replaced: the tables, what runs them, and a crew."""
