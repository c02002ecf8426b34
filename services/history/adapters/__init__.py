"""Where history meets MongoDB and NATS; nothing else here knows either."""
