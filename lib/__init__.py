"""The Super-Tiny study: from an LLM function-calling pipeline to a model of tens of MB (arXiv 2504.13471)."""
