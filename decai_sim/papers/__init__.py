"""Experiments with a claim to check: one file each."""
