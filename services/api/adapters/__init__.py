"""The ports over NATS; foreign errors stop here."""
