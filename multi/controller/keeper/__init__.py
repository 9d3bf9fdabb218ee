"""The keeper: the one small process that starts, watches and stops the worker of a node.

It runs under `-I -S` with this folder as its only code beside the standard library, and uses of that just what is built in
or costs next to nothing: `os` and a few C modules, never `signal`, `socket`, `json`, `ctypes`, `subprocess` or `logging`
(measured: together 8 MB and 20 ms more). So it never loads a project, and it stays small however many nodes there are.

Nothing here may import from `multi`.
"""
