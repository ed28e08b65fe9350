"""memsched in other frameworks: tools for agents (extra ``mcp``), a store for LangGraph (extra ``langgraph``).

Nothing here is imported by the rest of memsched, but where it is asked for.
"""
