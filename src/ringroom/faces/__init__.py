"""What the application's faces (`client`, `aio`, `pool`) share: an opened connection, how they wait
for it, and what brings it back."""
