"""What all services must agree on; imports no service."""
