"""Watches a whole fleet of workers, on all its hosts, by the events that they send."""
