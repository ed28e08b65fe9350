"""How is a memory found?"""
