"""The deploy toolkit: releases of a project, rolled out to many hosts over SSH.

The pure half: a description (`inventory`, `settings`) and the facts of the hosts (`facts`) make a plan (`plan`, for one host
`hostplan` and `switching`): per host the files, commands and restarts, each with its reason, and the way back. What a plan is
made of is in `steps`. The acting half carries it out on a `base.Backend`: over SSH (`connections`, `ssh`), or in memory
(`simulation`); `runner` goes through it batch by batch, with health gates (`health`) and automatic rollback. A remote host is
met only through `multi`'s own command line there, or, on a host without it, through its unit manager (`managers`).

The folder lies at the top of the repository and is installed as `multi.deploy` (`multi/deploy` is a link to it): import
it by that name, never as `deploy`, which is a name that users' own files have.
"""
