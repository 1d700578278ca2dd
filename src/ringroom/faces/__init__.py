"""What the application's faces (`client`, `aio`, `pool`) share: an opened connection, the calls
that wait for it, and what brings it back."""
