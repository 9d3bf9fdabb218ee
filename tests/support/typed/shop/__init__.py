"""A project as a user of type checkers writes it; `test_typing.py` has mypy look at it."""
