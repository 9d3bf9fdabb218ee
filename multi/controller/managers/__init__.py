"""Unit managers of this host that run nodes: systemd and supervisord.

`base.py` says what a unit can do; each manager is a file beside it. Which of them run nodes of a project is found out by
`multi/controller/units.py`.
"""
