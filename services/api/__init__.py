"""The gateway: HTTP in, NATS out."""
