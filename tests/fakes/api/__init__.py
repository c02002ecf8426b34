"""What stands in for the gateway's surroundings in tests."""
