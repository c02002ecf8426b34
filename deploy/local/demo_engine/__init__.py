"""The demo engine: speaks Ollama's HTTP API without a language model.

It stands in where no Ollama is there, and is the deterministic engine of the tests. Start it with
``python -m deploy.local.demo_engine --port 11435``. What a message may ask of it (length, speed,
faults) is in ``directive.py``, the faults in ``faults.py``, the control endpoints in
``control.py``, the models in ``models.py``.

The facts about Ollama come from its sources of August 2026 (``server/routes.go``,
``server/prompt.go``, ``llm/llama_server.go``).
"""
