"""Measurements of multi and its peers; see README.md beside this file."""
