"""The keys of deploys: [deploy], [environments.NAME] and [hosts.NAME]. The same table for all three; `where` says which."""

from __future__ import annotations

from multi.nodes.description.deploy_kinds import (
    Absolute,
    Below,
    DeployHooks,
    Percentage,
    Ratio,
    Secrets,
    Serial,
    UnitSettings,
)
from multi.nodes.description.keys import Key
from multi.nodes.description.kinds import (
    Choice,
    Duration,
    Entry,
    Env,
    Flag,
    Kind,
    Share,
    ShellLine,
    Size,
    Table,
    Text,
    Texts,
    Whole,
)

#: Where a key may stand: for the fleet, for one host, or for both, where the host's counts.
FLEET, HOST, BOTH, ENVIRONMENT = "fleet", "host", "both", "environment"


def _keys(group: str, *rows: tuple[str, str, Kind, str, str, str]) -> list[Key]:
    return [
        Key(name, kind, meaning, default, example, where, group)
        for where, name, kind, meaning, default, example in rows
    ]


_RELEASES = _keys(
    "Releases",
    (
        BOTH,
        "path",
        Absolute(),
        "Where the project lies on a host: `releases`, `environments`, `shared`, and the link `current`.",
        "/srv/ and the project's name",
        '"/srv/shop"',
    ),
    (
        FLEET,
        "source",
        Text('"git", "git:REF", a directory or a wheel'),
        "What a release is made of: what git has at HEAD (or REF), a directory as it is, or a wheel.",
        "git, or the folder where that is no repository",
        '"git:main"',
    ),
    (
        FLEET,
        "exclude",
        Texts("a list of patterns"),
        "What of a directory is left out, as patterns of names and paths.",
        "what no release needs: .git, caches, environments",
        '["*.pyc", "media"]',
    ),
    (
        FLEET,
        "requirements",
        Text("a file"),
        "The file of requirements (with hashes, if it is to be trusted) that a release's environment is built from.",
        "requirements.lock or requirements.txt, where there is one",
        '"requirements.lock"',
    ),
    (
        BOTH,
        "installer",
        Choice("auto", "uv", "pip", "none"),
        "What builds environments; auto: uv where it is installed, else pip; none: `python` runs the project as it is.",
        "auto",
        '"pip"',
    ),
    (
        BOTH,
        "python",
        Text("an interpreter"),
        "The interpreter that environments are made with; with the installer none the one that runs the project.",
        "python3",
        '"python3.12"',
    ),
    (
        FLEET,
        "shared",
        Below(),
        "Files and folders that all releases have in common: they lie in `shared`, and each release gets links to them.",
        "",
        '["media"]',
    ),
    (FLEET, "keep", Whole(1), "How many releases that were healthy stay on a host.", "5", "5"),
    (FLEET, "min_free_space", Size(), "A host with less on its disk gets no new release.", "500MB", '"2GB"'),
)
_RUNNING = _keys(
    "Running",
    (
        BOTH,
        "manager",
        Choice("auto", "systemd", "systemd-user", "supervisord", "multi"),
        "What runs nodes there; auto: systemd, else supervisord, else multi's own keepers. multi: these.",
        "auto",
        '"supervisord"',
    ),
    (
        BOTH,
        "agentless",
        Flag(),
        "Nothing of multi is used on the host: units run the worker's own command, its manager's tools do the rest.",
        "true where the requirements don't name multi-workers",
        "true",
    ),
    (
        BOTH,
        "owner",
        Text("a user, or user:group", r"[a-z_][a-z0-9_-]*\$?(:[a-z_][a-z0-9_-]*)?"),
        "Whom the project belongs to and its nodes run as, where they name no user.",
        "who logs in",
        '"shop"',
    ),
    (
        BOTH,
        "sudo",
        Flag(),
        "Whether sudo may be used; without it only what the login itself may do is done.",
        "true",
        "false",
    ),
    (
        BOTH,
        "hardening",
        Choice("off", "basic", "strict"),
        "How far systemd shuts nodes in.",
        "basic",
        '"strict"',
    ),
    (
        BOTH,
        "units_dir",
        Absolute(),
        "Where the manager reads its files.",
        "the manager's usual place",
        '"/etc/supervisor/conf.d"',
    ),
    (
        BOTH,
        "unit_settings",
        UnitSettings(),
        "Settings of the manager's format, as `multi render FORMAT --set` takes them; a host's are added to those of all.",
        "",
        '{ systemd = { writable = "/srv/media" }, supervisord = { group = "shop" } }',
    ),
    (BOTH, "env", Env(), "Variables for all nodes, over those of the nodes' own tables.", "", '{ SITE = "north" }'),
    (
        FLEET,
        "secrets",
        Secrets(),
        "Secret variables for all nodes, and where their values come from when a deploy starts; for the owner's eyes alone.",
        "",
        '{ DB_PASSWORD = { env = "DB_PASSWORD" }, API_KEY = { command = "pass shop/api" } }',
    ),
)
_ROLLOUT = _keys(
    "Rollout",
    (
        FLEET,
        "serial",
        Serial(),
        "Batches: how many hosts go at once, as numbers or shares of all; the last one holds for the rest.",
        '[1, "25%"]',
        '[1, 5, "20%"]',
    ),
    (
        FLEET,
        "max_parallel",
        Whole(1, 1000),
        "On so many hosts at once something is done, whatever the batch.",
        "20",
        "20",
    ),
    (
        FLEET,
        "max_fail_percentage",
        Percentage(),
        "Go on while no more of the hosts than this have failed; those that failed go back.",
        "0",
        "10",
    ),
    (
        FLEET,
        "canary",
        Table(
            "{ nodes = 1, tasks = 200 }",
            nodes=Entry(Whole(1), "So many nodes get the release first (1)."),
            tasks=Entry(Whole(1), "They are judged when they have run so many tasks (100),"),
            time=Entry(Duration(zero=False), "or when so long has passed (10m)."),
            failures=Entry(
                Share(),
                "They pass when no more of their tasks fail than of the old nodes' and this share of all (0.01),",
            ),
            latency=Entry(Ratio(), "and their tasks take no longer than this many times those of the old nodes (1.5)."),
        ),
        "A few nodes get the release first, judged by their tasks against the old ones; all others follow, or these go back.",
        "no canary",
        "{ nodes = 1, tasks = 200 }",
    ),
    (FLEET, "auto_revert", Flag(), "After a failure all hosts go back by themselves.", "true", "true"),
    (BOTH, "min_healthy_time", Duration(), "A node has to stay up so long to count as healthy.", "5s", '"10s"'),
    (BOTH, "healthy_deadline", Duration(zero=False), "What isn't healthy by then has failed.", "2m", '"5m"'),
    (
        BOTH,
        "health_command",
        ShellLine(),
        "Run on the host, in the release, after its nodes are up; has to exit with 0 by the deadline.",
        "",
        '"python -m shop.check"',
    ),
    (
        FLEET,
        "hooks",
        DeployHooks(),
        "Lines for the shell; before, after and failed run here, migrate on one host, the others on each. Lists are words.",
        "",
        '{ migrate = "python manage.py migrate", failed = ["notify", "deploy failed"] }',
    ),
    (FLEET, "lock_expires", Duration(zero=False), "A lock so old is nobody's: whoever took it is gone.", "2h", '"2h"'),
)
_SSH = _keys(
    "SSH",
    (
        HOST,
        "address",
        Text("a host name or an address"),
        "Where it is reached.",
        "its name, as ssh_config has it",
        '"10.0.0.11"',
    ),
    (BOTH, "user", Text("a user"), "Who logs in.", "as ssh has it", '"deploy"'),
    (BOTH, "port", Whole(1, 65535), "The port of its sshd.", "22, or as ssh_config has it", "2222"),
    (BOTH, "jump", Text("[user@]host[:port]"), "The host through which it is reached.", "", '"bastion.example.com"'),
    (BOTH, "key", Text("a file"), "The private key, beside the agent's.", "as ssh has it", '"~/.ssh/deploy"'),
    (FLEET, "connect_timeout", Duration(zero=False), "How long a connection may take to come about.", "10s", '"10s"'),
    (
        FLEET,
        "ssh_config",
        Text("a file"),
        "The configuration of ssh to go by.",
        "~/.ssh/config and /etc/ssh/ssh_config",
        '"ssh_config"',
    ),
    (
        FLEET,
        "known_hosts",
        Text("a file"),
        "The file of host keys to believe.",
        "as ssh_config has it",
        '"known_hosts"',
    ),
    (
        FLEET,
        "host_keys",
        Choice("known", "accept-new"),
        "Which host keys are believed: known ones only, or those of new hosts too, which are then noted.",
        "known",
        '"accept-new"',
    ),
)
_WHICH = _keys(
    "Which hosts",
    (
        HOST,
        "roles",
        Texts("a list of names", commas=True),
        "What it is for; nodes with `roles` run where one of them is.",
        "",
        '["web", "images"]',
    ),
    (
        HOST,
        "tags",
        Texts("a list of names", commas=True),
        "Further names by which commands pick it: `--hosts north`.",
        "",
        '["north"]',
    ),
    (
        ENVIRONMENT,
        "hosts",
        Texts("a list of hosts, tags or patterns"),
        "The hosts of this environment.",
        "all of them",
        '["staging*"]',
    ),
)

DEPLOY_KEYS: dict[str, Key] = {key.name: key for key in (*_RELEASES, *_RUNNING, *_ROLLOUT, *_SSH, *_WHICH)}


def keys_of(section: str) -> dict[str, Key]:
    """The keys that may stand in "deploy", "environments" or "hosts"."""
    wanted = {
        "deploy": (FLEET, BOTH),
        "environments": (FLEET, BOTH, ENVIRONMENT),
        "hosts": (HOST, BOTH),
    }[section]
    return {name: key for name, key in DEPLOY_KEYS.items() if key.where in wanted}


#: Names that people bring along, and what the key is called here.
OTHER_DEPLOY_NAMES = {
    "deploy_to": "path",
    "keep_releases": "keep",
    "retain": "keep",
    "linked_files": "shared",
    "linked_dirs": "shared",
    "host": "address",
    "hostname": "address",
    "ansible_host": "address",
    "ansible_user": "user",
    "ansible_port": "port",
    "gateway": "jump",
    "proxy_jump": "jump",
    "identity_file": "key",
    "key_filename": "key",
    "role": "roles",
    "tag": "tags",
    "environment": "env",
    "run_as": "owner",
    "batch": "serial",
    "stagger": "serial",
    "parallel": "max_parallel",
    "forks": "max_parallel",
    "supervisor": "manager",
    "group": "owner",
}
