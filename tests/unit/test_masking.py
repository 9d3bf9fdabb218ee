"""What may be shown of arguments."""

from __future__ import annotations

import pytest

from multi.masking import is_secret, mask_arguments


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("(1, 2)", "(1, 2)"),
        ("()", "()"),
        ("('a',) {'password': 'hush'}", "('a',) {'password': ***}"),
        ("({'user': 'ann', 'api_key': 'k', 'n': 1},)", "({'user': 'ann', 'api_key': ***, 'n': 1},)"),
        ("{'token': ['a', ('b', {'c': 'd'})], 'x': 1}", "{'token': ***, 'x': 1}"),
        ('{"secret": "it\'s, {really}", "x": 1}', '{"secret": ***, "x": 1}'),
        (r"{'passwd': 'a\'b, c', 'x': 1}", "{'passwd': ***, 'x': 1}"),
        ("{b'secret': b'x', 'y': 2}", "{b'secret': ***, 'y': 2}"),
        ("(Login(user='ann', password='hush'), 5)", "(Login(user='ann', password=***), 5)"),
        ("{'password': 'cut off in the mid", "{'password': ***"),
        ("{'password': {'cut': 'of", "{'password': ***"),
        ("{'auth': {'token': 'x'}, 'y': 2}", "{'auth': ***, 'y': 2}"),
        ("('redis://u:hush@h/0',)", "('redis://u:**@h/0',)"),
        (
            "{'monkey': 1, 'keyboard': 2, 'author': 3, 'compass': 4}",
            "{'monkey': 1, 'keyboard': 2, 'author': 3, 'compass': 4}",
        ),
        ("({'密码': 1, 'secret': '值'},)", "({'密码': 1, 'secret': ***},)"),
    ],
)
def test_values_that_are_named_like_secrets_are_not_shown(text: str, shown: str) -> None:
    assert mask_arguments(text) == shown


def test_wherever_a_text_was_cut_no_part_of_the_secret_is_left() -> None:
    text = "('a', [1, 2]) {'x': {'apiToken': ('hush', {'y': 'hush'})}, 'password': \"hush'hush\", 'z': 3}"
    assert mask_arguments(text) == "('a', [1, 2]) {'x': {'apiToken': ***}, 'password': ***, 'z': 3}"
    for end in range(len(text)):
        assert "h" not in mask_arguments(text[:end])


def test_which_names_are_secret() -> None:
    secret = [
        "password",
        "DB_PASSWORD",
        "passwd",
        "token",
        "accessToken",
        "SECRET_KEY",
        "key",
        "apikey",
        "aws-key",
        "pwd",
    ]
    assert [name for name in secret if not is_secret(name)] == []
    assert [name for name in ["user", "monkey", "keyboard", "path", "passenger", "author"] if is_secret(name)] == []
