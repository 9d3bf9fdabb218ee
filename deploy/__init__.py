"""The deploy toolkit: releases of a project, rolled out to many hosts over SSH.

Nothing is here yet. It is to hold a pure half (configuration and the facts of the hosts make a plan: per host, the files,
commands and restarts, each with its reason) and an acting half (the plan carried out in batches, with health gates and
automatic rollback). A remote host is met only through `multi`'s own command line there, or, on a host without it, through
its unit manager.

The folder lies at the top of the repository and is installed as `multi.deploy` (`multi/deploy` is a link to it): import
it by that name, never as `deploy`, which is a name that users' own files have.
"""
