"""Engines elsewhere that hold a gallery's vectors too, and shortlist for a search: Milvus, PostgreSQL's pgvector.

They are caches: the database stays the truth, and what is shown was scored from it.
"""
