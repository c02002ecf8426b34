"""The rooms behind the WebSockets: who sees which event of a session, and in which order."""
