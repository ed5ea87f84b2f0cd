"""Exercises of the page *backward()*."""
