"""The deploy toolkit."""
