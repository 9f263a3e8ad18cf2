"""What is said: the rooms' logs and how a room ends."""
