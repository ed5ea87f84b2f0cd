"""Exercises of the page *In-place edits*."""
