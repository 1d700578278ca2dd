"""The roles: I/O, worker, and who watches over them."""
