"""What multi.toml says: one table of keys, from which values are checked, and specifications of nodes made.

`keys` is the table, `kinds` and `special` are the types of its values, `reading` checks a file against it with the
`positions` of its keys, `description` makes nodes of it, `needs` puts them in order, and `plan` compares them with what
runs. `schema`, `sample`, `reference` and `writing` show the same table to editors, to people, and back as a file.
"""

from multi.nodes.description.description import Described, Description, describe
from multi.nodes.description.problems import ERROR, WARNING, DescriptionError, Problem
from multi.nodes.description.reading import OF_PYPROJECT

__all__ = ["ERROR", "OF_PYPROJECT", "WARNING", "Described", "Description", "DescriptionError", "Problem", "describe"]
