"""The broker's configuration: its limits, who may connect, and what each may do."""
