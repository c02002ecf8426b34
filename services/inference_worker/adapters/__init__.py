"""What the worker meets outside: NATS and Ollama; foreign errors stop here."""
