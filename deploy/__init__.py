"""How the services are started: locally, in containers; may know everything, nothing may know it."""
