"""The HTTP server: OpenAI's and Ollama's protocols around a task's dialogue, limits, figures and a page."""
