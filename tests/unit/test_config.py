from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from multi import App
from multi.config import TABLE, Settings, environment
from multi.config.removed import OTHERS_TOO, REMOVED
from multi.config.sources import reader, strip
from multi.config.table import ACTED, NOTED, old_name, upper_names
from multi.errors import AppImportFailed, ConfigurationError, UnknownSetting, UnsupportedOption


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("BROKER_URL", "RESULT_BACKEND", "BROKER_READ_URL", "BROKER_WRITE_URL", "CONFIG_MODULE"):
        monkeypatch.delenv(f"CELERY_{name}", raising=False)
        monkeypatch.delenv(f"MULTI_{name}", raising=False)
    yield
    sys.modules.pop("celeryconfig", None)


def loaded(source: Any, namespace: str | None = None) -> Settings:
    settings = Settings()
    settings.load_with(reader(source, namespace, False))
    return settings


def module(name: str, **settings: Any) -> ModuleType:
    made = ModuleType(name)
    made.__dict__.update(settings)
    return made


def test_every_setting_has_a_standing_and_its_default_is_of_its_type() -> None:
    from multi.config.values import convert

    for name, setting in TABLE.items():
        assert setting.standing in (ACTED, NOTED)
        assert bool(setting.meaning) != bool(setting.note), name
        assert convert(setting, setting.default, name) == setting.default


def test_defaults_are_celerys() -> None:
    conf = Settings()
    assert conf.task_serializer == "json"
    assert conf.accept_content == ("json",)
    assert conf.result_expires == 86400
    assert conf["task_default_queue"] == "celery"


def test_settings_are_attributes_and_items() -> None:
    conf = Settings()
    conf.result_expires = timedelta(hours=1)
    assert conf["result_expires"] == 3600
    conf.update(task_default_queue="other", timezone="Asia/Shanghai")
    assert conf.task_default_queue == "other"
    assert dict(conf)["timezone"] == "Asia/Shanghai"


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("BROKER_URL", "broker_url", "redis://h"),
        ("CELERY_RESULT_BACKEND", "result_backend", "redis://h"),
        ("CELERY_IMPORTS", "imports", ("tasks",)),
        ("CELERYD_CONCURRENCY", "worker_concurrency", 3),
        ("CELERY_TASK_RESULT_EXPIRES", "result_expires", 300),
        ("CELERY_TASK_SERIALIZER", "task_serializer", "json"),
        ("CELERY_MESSAGE_COMPRESSION", "task_compression", "zlib"),
        ("CELERY_DISABLE_RATE_LIMITS", "worker_disable_rate_limits", True),
        ("CELERYD_TASK_TIME_LIMIT", "task_time_limit", 5),
        ("CELERY_ACCEPT_CONTENT", "accept_content", ["json", "pickle"]),
    ],
)
def test_old_names_are_understood(old: str, new: str, value: Any) -> None:
    assert loaded({old: value})[new] == value
    conf = Settings()
    conf[old] = value
    assert conf[new] == value
    assert conf[old] == value


def test_the_environments_name_of_the_broker_works_in_a_configuration_object_too() -> None:
    class Config:
        CACHE_TYPE = "redis"
        SQLALCHEMY_TRACK_MODIFICATIONS = False
        CELERY_BROKER_URL = "redis://auth:pw@h:6379/10"
        CELERY_RESULT_BACKEND = "redis://auth:pw@h:6379/11"
        CELERY_DISABLE_RATE_LIMITS = True

        @staticmethod
        def init_app(app: Any) -> None:
            pass

    conf = loaded(Config)
    assert conf.broker_url == "redis://auth:pw@h:6379/10"
    assert conf.result_backend == "redis://auth:pw@h:6379/11"
    assert conf.CACHE_TYPE == "redis"
    assert conf.SQLALCHEMY_TRACK_MODIFICATIONS is False
    assert "pw" not in repr(conf)


def test_a_namespace_is_the_prefix_of_new_names() -> None:
    conf = loaded({"CELERY_TASK_ALWAYS_EAGER": True, "DEBUG": False, "CELERYX": 1, "REDIS_HOST": "h"}, "CELERY")
    assert conf.task_always_eager is True
    assert conf.DEBUG is False
    assert conf.REDIS_HOST == "h"
    assert conf.redis_host is None


def test_another_namespace_leaves_other_names_alone() -> None:
    conf = loaded({"MYAPP_TASK_IGNORE_RESULT": True, "CELERY_SOMETHING": 1}, "MYAPP")
    assert conf.task_ignore_result is True
    assert conf.CELERY_SOMETHING == 1


def test_an_unknown_name_under_the_namespace_is_an_error_that_names_the_right_one() -> None:
    with pytest.raises(UnknownSetting, match=r"CELERY_TASK_ALWAYS_EAGR.*CELERY_TASK_ALWAYS_EAGER"):
        _ = loaded({"CELERY_TASK_ALWAYS_EAGR": True}, "CELERY").task_always_eager


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("result_expire", "result_expires"),
        ("task_serialiser", "task_serializer"),
        ("CELERY_CONCURRENCY", "CELERYD_CONCURRENCY"),
        ("CELERY_RESULT_BACKENDS", "CELERY_RESULT_BACKEND"),
        ("CELERYD_CONCURENCY", "CELERYD_CONCURRENCY"),
        ("BROKER_URLS", "BROKER_URL"),
    ],
)
def test_a_near_miss_is_an_error_that_names_the_right_one(wrong: str, right: str) -> None:
    with pytest.raises(UnknownSetting, match=f"{wrong}.*{right}"):
        Settings().update({wrong: 1})


@pytest.mark.parametrize("namespace", [None, "CELERY"])
def test_what_is_like_no_setting_is_told_without_a_guess(namespace: str | None) -> None:
    with pytest.raises(UnknownSetting, match="no setting is called 'CELERY_FOOBARBAZ'$"):
        _ = loaded({"CELERY_FOOBARBAZ": 1}, namespace).broker_url


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("brokr", "broker"), ("backnd", "backend"), ("includes", "include"), ("name_space", "namespace")],
)
def test_a_near_miss_of_an_argument_of_the_app_is_an_error(wrong: str, right: str) -> None:
    with pytest.raises(UnknownSetting, match=f"no argument '{wrong}'; did you mean '{right}'"):
        App("x", set_as_current=False, **{wrong: "redis://h"})  # type: ignore[arg-type]  # that is the point


def test_the_app_takes_settings_and_the_projects_own_names_as_arguments() -> None:
    app = App("x", task_default_queue="q", my_favourite=3, set_as_current=False)
    assert (app.conf.task_default_queue, app.conf.my_favourite) == ("q", 3)


def test_a_time_zone_is_one_that_exists() -> None:
    from zoneinfo import ZoneInfo

    conf = Settings()
    for name in ("Asia/Shanghai", "UTC", "utc", None):
        conf.timezone = name
        assert conf.timezone == name
    conf.timezone = ZoneInfo("Europe/Berlin")
    assert conf.timezone == "Europe/Berlin"
    with pytest.raises(ConfigurationError, match="timezone: no time zone is called 'Mars/Base'$"):
        conf.timezone = "Mars/Base"
    with pytest.raises(ConfigurationError, match="did you mean 'Asia/Shanghai'"):
        conf.timezone = "Asia/Shanghi"
    with pytest.raises(ConfigurationError, match="no time zone"):
        conf.timezone = "../../../etc/passwd"


def test_any_other_name_is_the_projects_own() -> None:
    conf = Settings()
    conf.my_favourite = 3
    assert conf.my_favourite == 3
    with pytest.raises(AttributeError, match="no setting is called 'other'"):
        _ = conf.other
    assert conf.get("other", 5) == 5


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("task_time_limit", "abc", "seconds"),
        ("worker_concurrency", 1.5, "whole number"),
        ("task_always_eager", "perhaps", "True or False"),
        ("broker_url", 5, "text"),
        ("broker_transport_options", 5, "dictionary"),
    ],
)
def test_a_value_of_the_wrong_type_is_told_with_the_right_one(name: str, value: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} should be .*{told}"):
        Settings()[name] = value


def test_a_wrong_value_is_not_printed_where_it_may_be_a_secret() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings()["broker_url"] = ["redis://:geheim@h"]
    assert "geheim" not in str(caught.value)


#: Where our default is another one, and why.
OTHER_DEFAULTS = {
    "task_acks_late": "unset means late here",
    "broker_connection_max_retries": "a worker waits for its broker as long as it takes",
}


def test_every_setting_of_celery_is_known_under_both_names_and_with_its_default() -> None:
    """Compared with the real one's own table, so that none is missing."""
    import celery.app.defaults as theirs

    found = dict(theirs.flatten(theirs.NAMESPACES))
    assert sorted(found.keys() - TABLE.keys()) == []
    uppers = upper_names()
    for name, option in found.items():
        default = option.default.total_seconds() if isinstance(option.default, timedelta) else option.default
        assert TABLE[name].default == default or name in OTHER_DEFAULTS, name
        old = theirs._TO_OLD_KEY.get(name)
        assert old is None or (uppers[old], old_name(name)) == (name, old)
    ours = {
        "worker_lease",
        "max_deliveries",
        "drain_timeout",
        "delayed_delivery",
        "beat_missed_after",
        "beat_schedule_name",
    }
    ours |= {"control_key", "control_unsigned"}
    assert ours >= {name for name in TABLE.keys() - found.keys() if not name.startswith("multi_")}


@pytest.mark.parametrize("name", sorted(REMOVED.keys() - OTHERS_TOO))
def test_what_celery_has_removed_is_refused_with_what_takes_its_place(name: str) -> None:
    with pytest.raises(UnsupportedOption, match=f"Celery has removed the setting {name} .*in its place: "):
        Settings()[name] = "x"
    assert name not in upper_names()


def test_what_django_knows_too_may_be_there() -> None:
    assert loaded({"ADMINS": ["a"], "EMAIL_HOST": "h"})["EMAIL_HOST"] == "h"


def test_old_and_new_names_may_be_mixed_unless_they_disagree() -> None:
    conf = loaded({"CELERY_TASK_SERIALIZER": "json", "task_compression": "zlib", "CELERYD_CONCURRENCY": 3})
    assert (conf.task_serializer, conf.task_compression, conf.worker_concurrency) == ("json", "zlib", 3)
    with pytest.raises(ConfigurationError, match="worker_concurrency and CELERYD_CONCURRENCY are two names"):
        _ = loaded({"worker_concurrency": 2, "CELERYD_CONCURRENCY": 3}).worker_pool


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"broker_host": "rabbit"}, "amqp://rabbit"),
        (
            {
                "BROKER_HOST": "h",
                "BROKER_PORT": 5673,
                "BROKER_USER": "u@x",
                "BROKER_PASSWORD": "p/w",
                "BROKER_VHOST": "/v",
            },
            "amqp://u%40x:p%2Fw@h:5673/%2Fv",
        ),
        ({"broker_transport": "redis", "broker_host": "r", "broker_vhost": "2"}, "redis://r/2"),
    ],
    ids=str,
)
def test_a_broker_can_be_told_in_parts(settings: dict[str, Any], url: str) -> None:
    from multi.app.connections import broker_url

    assert broker_url(App("parts", changes=settings, set_as_current=False), write=True) == url


def test_the_redis_backend_can_be_told_in_parts() -> None:
    from multi.app.connections import backend_url

    app = App(
        "parts", backend="redis", set_as_current=False, redis_host="r", redis_port=6380, redis_db=3, redis_password="p"
    )
    assert backend_url(app) == "redis://:p@r:6380/3"


def test_a_setting_without_meaning_here_is_noted() -> None:
    conf = Settings()
    assert conf.notes() == []
    conf.worker_prefetch_multiplier = 1
    conf.beat_sync_every = 5
    first, second = sorted(conf.notes())
    assert "beat_sync_every" in first
    assert "worker_prefetch_multiplier" in second


def test_a_value_that_says_what_happens_anyway_is_not_noted() -> None:
    conf = Settings()
    conf.update(broker_login_method="PLAIN", task_retry_on_worker_lost=True)
    assert conf.notes() == []
    conf.broker_login_method = "EXTERNAL"
    assert conf.notes() == ["setting broker_login_method: RabbitMQ is always spoken to by PLAIN"]


def test_two_names_of_one_setting_must_agree() -> None:
    assert loaded({"broker_url": "redis://h", "BROKER_URL": "redis://h"}).broker_url == "redis://h"
    with pytest.raises(ConfigurationError, match="broker_url and BROKER_URL"):
        _ = loaded({"broker_url": "redis://h", "BROKER_URL": "redis://other"}).broker_url


def test_what_is_set_through_conf_beats_arguments_and_those_beat_the_object() -> None:
    app = App("x", broker="redis://argument", set_as_current=False)
    app.config_from_object({"broker_url": "redis://object", "result_backend": "redis://object"})
    assert app.conf.broker_url == "redis://argument"
    assert app.conf.result_backend == "redis://object"
    app.conf.result_backend = "redis://changed"
    assert app.conf.result_backend == "redis://changed"


def test_the_environment_beats_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    conf = Settings({"broker_url": "redis://argument"})
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://celery")
    assert conf.broker_url == "redis://celery"
    monkeypatch.setenv("MULTI_BROKER_URL", "redis://multi")
    assert conf.broker_url == "redis://multi"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("task_always_eager", "yes", True),
        ("task_time_limit", "2.5", 2.5),
        ("worker_concurrency", "4", 4),
        ("accept_content", "json, pickle", ["json", "pickle"]),
        ("broker_transport_options", '{"visibility_timeout": 5}', {"visibility_timeout": 5}),
    ],
)
def test_any_setting_can_come_from_the_environment(
    name: str, text: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"MULTI_{name.upper()}", text)
    assert Settings()[name] == value


def test_a_wrong_value_in_the_environment_is_told_by_the_variables_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTI_WORKER_CONCURRENCY", "many")
    with pytest.raises(ConfigurationError, match="MULTI_WORKER_CONCURRENCY should be a whole number"):
        _ = Settings().worker_concurrency


@pytest.mark.parametrize(
    ("variable", "right"),
    [
        ("MULTI_BROKR_URL", "MULTI_BROKER_URL"),
        ("MULTI_TASK_SERIALISER", "MULTI_TASK_SERIALIZER"),
        ("MULTI_STATEDIR", "MULTI_STATE_DIR"),
    ],
)
def test_a_variable_whose_name_is_nearly_a_settings_is_an_error(
    variable: str, right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "redis://h")
    with pytest.raises(UnknownSetting, match=f"{variable}.*did you mean {right}"):
        _ = Settings().broker_url
    with pytest.raises(UnknownSetting, match=variable):
        Settings({"broker_url": "memory://"}).check()


def test_another_variable_of_our_prefix_is_noted_unless_it_belongs_to_the_command_or_to_kubernetes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("MULTI_SERVICE_HOST", "MULTI_PORT", "MULTI_PORT_80_TCP", "MULTI_STATE_DIR", "MULTI_RUN_DIR"):
        monkeypatch.setenv(name, "1")
    assert Settings().notes() == []
    monkeypatch.setenv("MULTI_FOOBAR", "1")
    assert Settings().notes() == ["variable MULTI_FOOBAR: no setting is called so, nothing reads it"]


def test_the_variables_of_the_workers_options_are_no_misspelt_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    from multi.cli.worker import worker

    for parameter in worker.params:
        for variable in parameter.envvar or ():
            monkeypatch.setenv(variable, "1")
    environment.check()
    assert environment.notes() == []


@pytest.mark.parametrize("prefix", ["CELERY", "MULTI"])
def test_variables_name_another_broker_to_read_from_or_to_write_to(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{prefix}_BROKER_READ_URL", "memory://read")
    monkeypatch.setenv(f"{prefix}_BROKER_WRITE_URL", "memory://write")
    app = App("x", broker="memory://plain", set_as_current=False)
    assert app.worker_broker.url == "memory://read"
    assert app.broker.url == "memory://write"


def test_a_module_gives_its_settings_and_not_what_it_has_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sys.modules, "conf_module", module("conf_module", sys=sys, timedelta=timedelta, broker_url="redis://h", _x=1)
    )
    conf = loaded("conf_module")
    assert conf.broker_url == "redis://h"
    assert "timedelta" not in conf
    assert "sys" not in conf


def test_an_object_in_a_module_is_named_by_colon_or_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    class Config:
        broker_url = "redis://h"

    monkeypatch.setitem(sys.modules, "conf_holder", module("conf_holder", Config=Config, __path__=[]))
    assert loaded("conf_holder:Config").broker_url == "redis://h"
    assert loaded("conf_holder.Config").broker_url == "redis://h"


def test_a_configuration_module_that_is_not_there_is_told_when_it_is_needed() -> None:
    app = App("x", set_as_current=False)
    app.config_from_object("no_such_module_at_all")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="no_such_module_at_all"):
            _ = app.conf.task_serializer
    app.config_from_object("no_such_module_at_all", silent=True)
    assert app.conf.task_serializer == "json"


def test_a_variable_may_name_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App("x", set_as_current=False)
    with pytest.raises(ConfigurationError, match="PROJ_CONFIG"):
        app.config_from_envvar("PROJ_CONFIG")
    assert app.config_from_envvar("PROJ_CONFIG", silent=True) is False
    monkeypatch.setitem(sys.modules, "conf_env", module("conf_env", broker_url="redis://h"))
    monkeypatch.setenv("PROJ_CONFIG", "conf_env")
    assert app.config_from_envvar("PROJ_CONFIG") is True
    assert app.conf.broker_url == "redis://h"


def test_an_app_that_nobody_configures_reads_celeryconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "celeryconfig.py").write_text('BROKER_URL = "memory://of-celeryconfig"\nCELERY_IMPORTS = ("tasks",)\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    app = App("x", set_as_current=False)
    assert app.broker.url == "memory://of-celeryconfig"
    assert app.conf.imports == ("tasks",)
    configured = App("x", broker="memory://given", set_as_current=False)
    assert configured.broker.url == "memory://given"
    assert configured.conf.imports == ()


def test_its_settings_are_there_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "celeryconfig.py").write_text(
        'BROKER_URL = "memory://of-celeryconfig"\nCELERY_TASK_RESULT_EXPIRES = 300\nMINE = 3\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    conf = App("x", set_as_current=False).conf
    assert conf.result_expires == 300
    assert conf["broker_url"] == "memory://of-celeryconfig"
    assert conf.MINE == 3
    assert App("x", set_as_current=False).conf.is_set("result_expires")
    assert "MINE" in dict(App("x", set_as_current=False).conf)
    assert App("x", changes={"timezone": "UTC"}, set_as_current=False).conf.result_expires == 86400
    app = App("x", set_as_current=False)
    app.config_from_object({"timezone": "UTC"})
    assert app.conf.result_expires == 86400


def test_a_celeryconfig_that_raises_is_told_at_each_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "celeryconfig.py").write_text("import no_such_library_here\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    app = App("x", set_as_current=False)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="no_such_library_here"):
            _ = app.conf.result_expires


def test_the_name_of_that_module_may_be_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "otherconfig", module("otherconfig", broker_url="memory://other"))
    monkeypatch.setenv("CELERY_CONFIG_MODULE", "otherconfig")
    assert App("x", set_as_current=False).broker.url == "memory://other"


def test_a_change_reaches_what_was_made_with_the_old_value() -> None:
    app = App("x", broker="memory://a", set_as_current=False)
    assert app.publisher.template("x", None).queue == "celery"
    app.conf.task_default_queue = "other"
    assert app.publisher.template("x", None).queue == "other"
    app.conf.broker_url = "memory://b"
    assert app.broker.url == "memory://b"


def test_a_change_of_no_concern_to_the_broker_leaves_it_open() -> None:
    app = App("x", broker="memory://a", set_as_current=False)
    broker = app.broker
    app.conf.task_always_eager = True
    assert app.broker is broker


def test_the_page_of_all_settings_is_that_of_the_table() -> None:
    from multi.config.reference import reference

    page = Path(__file__).parents[2] / "docs/settings.md"
    assert page.read_text() == reference(), "python docs/build.py --reference"


def test_a_configuration_module_that_fails_is_told_with_its_own_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_config.py").write_text("import os\n\nbroker_url = os.environ['NO_SUCH_VARIABLE']\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    app = App("broken", set_as_current=False)
    app.config_from_object("broken_config")
    with pytest.raises(AppImportFailed, match="'broken_config' can't be loaded: KeyError") as caught:
        _ = app.conf.broker_url
    assert f"({tmp_path}/broken_config.py, line 3)" in str(caught.value)
    assert caught.value.may_pass

    class Late:
        @property
        def broker_url(self) -> str:
            raise OSError("not now")

    app.config_from_object(Late())
    with pytest.raises(AppImportFailed, match="the configuration 'Late' can't be loaded: OSError: not now"):
        _ = app.conf.broker_url


@pytest.mark.parametrize(
    "given",
    [
        {"CELERYD_CONCURRENCY": 3, "worker_concurrency": 4},
        {"worker_concurrency": 4, "CELERYD_CONCURRENCY": 3},
        {"CELERYD_CONCURRENCY": 3, "CELERY_WORKER_CONCURRENCY": 4},
        {"CELERY_TASK_RESULT_EXPIRES": 3, "result_expires": 4},
    ],
)
def test_two_names_of_one_setting_with_different_values_are_an_error_wherever_both_are_given(
    given: dict[str, int],
) -> None:
    message = " and ".join(given) + " are two names of one setting"
    loaded = Settings()
    loaded.load_with(lambda: given)
    with pytest.raises(ConfigurationError, match=message):
        loaded.check()
    with pytest.raises(ConfigurationError, match=message):
        Settings(given)
    changed = Settings()
    with pytest.raises(ConfigurationError, match=message):
        changed.update(given)
    assert not changed.is_set("worker_concurrency")


def test_two_names_with_one_value_and_one_after_the_other_are_fine() -> None:
    settings = Settings({"CELERYD_CONCURRENCY": "3", "worker_concurrency": 3})
    settings.update(CELERYD_CONCURRENCY=4)
    settings.update(worker_concurrency=5)
    assert settings.worker_concurrency == 5


def test_under_a_prefix_two_names_are_told_and_the_one_without_it_gives_way() -> None:
    with pytest.raises(ConfigurationError, match="CELERY_ALWAYS_EAGER and CELERY_TASK_ALWAYS_EAGER are two names"):
        strip({"CELERY_ALWAYS_EAGER": True, "CELERY_TASK_ALWAYS_EAGER": False}, "CELERY")
    for given in (
        {"BROKER_URL": "own", "CELERY_BROKER_URL": "meant"},
        {"CELERY_BROKER_URL": "meant", "BROKER_URL": "own"},
    ):
        assert strip(given, "CELERY") == {"broker_url": "meant"}


def test_what_was_changed_can_be_cleared() -> None:
    settings = Settings({"worker_concurrency": 3})
    settings.worker_concurrency = 4
    settings.clear()
    assert settings.worker_concurrency == 3


def test_all_that_is_wrong_in_a_configuration_is_told_at_once() -> None:
    wrong = Settings()
    wrong.load_with(lambda: {"worker_concurrency": "many", "task_acks_late": "perhaps", "task_serialzer": "json"})
    for _ in range(2):  # asked again, it is wrong again
        with pytest.raises(ConfigurationError, match="3 settings are wrong:") as told:
            wrong.check()
        assert [line.split()[0] for line in str(told.value).splitlines()[1:3]] == [
            "worker_concurrency",
            "task_acks_late",
        ]
