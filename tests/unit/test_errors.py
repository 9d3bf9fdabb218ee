from __future__ import annotations

import builtins
import pickle

import pytest

from multi import errors


def test_a_missing_extra_names_the_command_that_installs_it() -> None:
    assert "pip install 'multi-workers[redis]'" in str(errors.MissingExtra("redis", "multi-workers[redis]"))


def test_a_missing_extra_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(errors.MissingExtra("redis", "multi-workers[redis]")))
    assert str(error) == str(errors.MissingExtra("redis", "multi-workers[redis]"))


def test_errors_are_what_python_programs_expect_too() -> None:
    assert issubclass(errors.ConfigurationError, ValueError)
    assert issubclass(errors.TimeoutError, builtins.TimeoutError)
    assert issubclass(errors.NotRegistered, KeyError)
    assert issubclass(errors.BackendDisabled, NotImplementedError)


@pytest.mark.parametrize(
    ("error", "module"),
    [
        (errors.NotRegistered, "celery.exceptions"),
        (errors.TaskRevokedError, "celery.exceptions"),
        (errors.WorkerLostError, "billiard.exceptions"),
        (errors.TimeLimitExceeded, "billiard.exceptions"),
        (errors.EncodeError, "kombu.exceptions"),
    ],
)
def test_on_the_wire_an_error_bears_celerys_name_and_comes_back_as_ours(error: type[Exception], module: str) -> None:
    assert errors.wire_name(error) == (module, error.__name__)
    assert errors.from_wire(module, error.__name__) is error


def test_other_errors_keep_their_own_names() -> None:
    assert errors.wire_name(ValueError) == ("builtins", "ValueError")


def test_a_retry_says_when_and_why() -> None:
    assert str(errors.Retry(exc=ValueError("x"), when=3)) == "Retry in 3s: ValueError('x')"
