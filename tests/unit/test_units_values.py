"""Values that no unit of systemd can have: refused when it is written, not ignored by systemd."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from multi.errors import ConfigurationError
from multi.nodes.names import NodeName
from multi.nodes.spec import NodeSpec
from multi.units import find
from multi.units.base import Target
from multi.units.checks import check_systemd

NODE = NodeSpec(NodeName("w1", "host"), executable="/bin/true", cwd="/", options={"app": "shop"})
TARGET = Target("shop", "host", manager_version=252, multi="/usr/bin/multi")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"needs": ["a b"]}, "--needs a b: this is no name of a unit; a unit's name ends in .service"),
        ({"needs": ["redis"]}, "--needs redis: this is no name of a unit; is it redis.service?"),
        ({"needs": ["foo.nonsense"]}, "--needs foo.nonsense: this is no name of a unit; is it foo.service?"),
        ({"settings": {"on_failure": "x y"}}, "on_failure=x y: this is no name of a unit"),
        ({"settings": {"start_timeout": "xx"}}, "start_timeout=xx: 'xx' is no span of time"),
        ({"settings": {"start_timeout": "0"}}, "write infinity"),
        (
            {"settings": {"writable": "/a rel"}},
            "writable=rel: a directory that nodes may write to is named by its whole path",
        ),
        ({"credentials": {"a b": "/etc/x"}}, "--credential a b=/etc/x: 'a b' can't be the name of a file"),
        ({"credentials": {"db": "rel/x"}}, "--credential db=rel/x: name the file by its whole path"),
    ],
)
def test_what_systemd_would_ignore_is_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(why)):
        find("systemd").render([NODE], replace(TARGET, **given))


def test_what_systemd_understands_is_taken() -> None:
    settings = {"on_failure": "notify@%n.service", "start_timeout": "2m", "writable": "/srv/a /srv/b"}
    needs = ["redis-server.service", r"dev-disk-by\\x2did-x.device", "a@b.socket"]
    target = replace(TARGET, needs=needs, settings=settings, credentials={"db.pass-1": "/etc/x y"})
    files = find("systemd").render([NODE], target)
    assert "\nTimeoutStartSec=120\n" in files[0].text
    assert [str(one) for one in check_systemd(files) if one.level == "error"] == []
    forever = replace(TARGET, settings={"start_timeout": "infinity"})
    assert "\nTimeoutStartSec=infinity\n" in find("systemd").render([NODE], forever)[0].text
