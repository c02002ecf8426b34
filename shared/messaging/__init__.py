"""NATS as every service uses it: connection, JetStream, KV, proven subscriptions."""
