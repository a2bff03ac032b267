"""Recorded readings on disk: reading and replaying them, and writing recordings and scores."""
