"""`multi events`: what workers tell of themselves and their tasks, live, as lines, as JSON, or by a camera."""
