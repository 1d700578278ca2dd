"""The worker role: the user's processor, between the lanes of its tracks."""
