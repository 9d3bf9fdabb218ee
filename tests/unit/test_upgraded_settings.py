"""`multi upgrade settings`: what is renamed, what is left, and what must not change."""

from __future__ import annotations

from pathlib import Path

import pytest

from multi.app.migration.rewriting import rewrite
from multi.cli.group import run


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # what reads a setting goes with it, in an f-string too
        ('BROKER_URL = "x"\nprint(f"{BROKER_URL}")\n', 'broker_url = "x"\nprint(f"{broker_url}")\n'),
        (
            'BROKER_URL = "x"\ny = f"{{BROKER_URLS}} {BROKER_URL!r:>{len(BROKER_URL)}}"\n',
            'broker_url = "x"\ny = f"{{BROKER_URLS}} {broker_url!r:>{len(broker_url)}}"\n',
        ),
        ('BROKER_URL = "x"\ny = f"""a\n{BROKER_URL}\nb"""\n', 'broker_url = "x"\ny = f"""a\n{broker_url}\nb"""\n'),
        # the other file still has the old name
        (
            "from other import BROKER_URL\nCELERY_RESULT_BACKEND = BROKER_URL\n",
            "from other import BROKER_URL as broker_url\nresult_backend = broker_url\n",
        ),
        ("from other import URL as BROKER_URL\n", "from other import URL as broker_url\n"),
        # names of a function's own are its own
        ("def url(BROKER_URL=None):\n    return BROKER_URL\n", None),
        ("def url():\n    BROKER_URL = 1\n    return BROKER_URL\n", None),
        ("BROKER_URL = 1\ndef url():\n    return BROKER_URL\n", "broker_url = 1\ndef url():\n    return broker_url\n"),
        (
            "BROKER_URL = 1\ndef url(BROKER_URL=BROKER_URL):\n    return BROKER_URL\n",
            "broker_url = 1\ndef url(BROKER_URL=broker_url):\n    return BROKER_URL\n",
        ),
        (
            "BROKER_URL = 1\ndef change():\n    global BROKER_URL\n    BROKER_URL = 2\n",
            "broker_url = 1\ndef change():\n    global broker_url\n    broker_url = 2\n",
        ),
        # a class of settings, from inside and from outside
        (
            ("class Config:\n    BROKER_URL = 'x'\n    CELERY_RESULT_BACKEND = BROKER_URL\n"
            "Config.BROKER_URL = 'y'\nOther.BROKER_URL = 'z'\n"),
            ("class Config:\n    broker_url = 'x'\n    result_backend = broker_url\n"
            "Config.broker_url = 'y'\nOther.BROKER_URL = 'z'\n"),
        ),
        ("if x:\n    é, BROKER_URL = 1, 2\n", "if x:\n    é, broker_url = 1, 2\n"),
        ("app.conf.update(dict(BROKER_URL=1))\n", "app.conf.update(dict(broker_url=1))\n"),
        ("x = 'é'; app.conf['BROKER_URL'] = app.conf.BROKER_URL\n", "x = 'é'; app.conf['broker_url'] = app.conf.broker_url\n"),
        ("print(BROKER_URL)\n", None),
    ],
)  # fmt: skip
def test_settings_and_what_reads_them_are_renamed_and_nothing_else(before: str, after: str | None) -> None:
    assert rewrite(before.encode(), "x.py").text == (after or before)


def test_in_an_f_string_only_its_fields_are_renamed_and_what_is_not_sure_is_told() -> None:
    found = rewrite(b'BROKER_URL = 1\ny = f"a BROKER_URL {BROKER_URL}"\n', "x.py")
    assert (found.text, found.left) == ('broker_url = 1\ny = f"a BROKER_URL {broker_url}"\n', [])
    found = rewrite(b'BROKER_URL = 1\ny = f"a BROKER_URL {1 + BROKER_URL}"\n', "x.py")
    assert found.left == [(2, "BROKER_URL in this f-string is to be renamed by hand, to broker_url")]


@pytest.mark.parametrize(
    ("text", "django", "names"),
    [
        ("CELERY_BROKER_URL = 'a'\nBROKER_URL = 'b'\n", True, "CELERY_BROKER_URL and BROKER_URL"),
        ("CELERYD_CONCURRENCY = 3\nworker_concurrency = 4\n", False, "CELERYD_CONCURRENCY and worker_concurrency"),
        ("class C:\n    BROKER_URL = 3\n    broker_url = 4\n", False, "BROKER_URL and broker_url"),
        ("conf.update(BROKER_URL=1, broker_url=2)\n", False, "BROKER_URL and broker_url"),
    ],
)
def test_two_names_of_one_setting_are_told_and_left(text: str, django: bool, names: str) -> None:
    found = rewrite(text.encode(), "x.py", django=django)
    assert (found.text, found.renamed) == (text, [])
    assert [each for _, each in found.left if each.startswith(f"{names} are two names of the setting")]


def test_one_name_is_given_twice_as_often_as_it_likes() -> None:
    text = "BROKER_URL = 1\nif x:\n    BROKER_URL = 2\n"
    assert rewrite(text.encode(), "x.py").text == text.replace("BROKER_URL", "broker_url")


@pytest.mark.parametrize(
    "text",
    [
        b'# -*- coding: latin-1 -*-\nBROKER_URL = "\xe4"\n',
        b'\xef\xbb\xbfBROKER_URL = "x"\n',
        b'BROKER_URL = "x"\r\n\x0cCELERY_RESULT_BACKEND = "y"\r\n',
    ],
)
def test_encoding_and_line_ends_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    Path("conf.py").write_bytes(text)
    assert run(["upgrade", "settings", "conf.py"]) == 0
    assert Path("conf.py").read_bytes() == text.replace(b"BROKER_URL", b"broker_url").replace(
        b"CELERY_RESULT_BACKEND", b"result_backend"
    )


def test_the_mail_settings_of_django_are_its_own() -> None:
    assert rewrite(b"EMAIL_HOST = 'h'\n", "settings.py", django=True).left == []
    assert rewrite(b"EMAIL_HOST = 'h'\n", "celeryconfig.py").left
