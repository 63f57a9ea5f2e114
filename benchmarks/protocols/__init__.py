"""Evaluation protocols: each takes scores or features and returns the protocol's figures."""
