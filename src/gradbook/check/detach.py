"""Exercises of the page *detach()*."""
