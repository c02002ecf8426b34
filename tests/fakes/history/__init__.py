"""The ports of history in memory, conversations to store, and a history service to start."""
