"""What is said of the running system and of a user's usage."""
