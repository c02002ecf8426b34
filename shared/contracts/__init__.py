"""The wire: everything that crosses NATS."""
