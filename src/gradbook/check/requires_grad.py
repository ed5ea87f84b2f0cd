"""Exercises of the page *requires_grad*."""
