"""What the tests of every kind share: private servers, projects to run, waiting for facts, and the count of processes.

`tests` is on the path of imports (see `pythonpath` in pyproject.toml), so a test says `from support.wait import until`.
"""
