"""An OpenAI-compatible language model: asked within a time budget, and never simply believed.

Everything here is optional: without ``llm_model`` nothing of it runs (``LLM.from_settings`` returns None). A caller has
a local form of every task, falls back to it on any ``LLMError``, and says so: ``llm.counters.fell_back(task, error)``.
"""
