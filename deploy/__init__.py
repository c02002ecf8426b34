"""How the services are started; may know everything, and nothing may know it."""
