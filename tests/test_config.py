import pytest
from pydantic import model_validator

from robolearn.config import Config, apply_overrides, build, config_path, load_config, read_yaml
from robolearn.errors import ConfigError
from robolearn.learn.train_config import TrainConfig


class Inner(Config):
    learning_rate: float = 1e-3


class Outer(Config):
    name: str = "a"
    inner: Inner = Inner()


def test_defaults_then_file_then_overrides(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("name: b\ninner: {learning_rate: 0.5}\n")
    assert load_config(Outer, path).inner.learning_rate == 0.5
    config = load_config(Outer, path, ["inner.learning_rate=3e-4"])
    assert (config.name, config.inner.learning_rate) == ("b", 3e-4)


def test_resolved_config_reads_back_the_same(tmp_path):
    config = Outer(name="c")
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    assert load_config(Outer, tmp_path / "c.yaml") == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("inner.learning_rat=1", "Did you mean 'inner.learning_rate'?"),
        ("nam=1", "Unknown key 'nam'"),
        ("inner.learning_rate=fast", "key 'inner.learning_rate' is 'fast'"),
        ("inner", "not of the form key=value"),
        ("name.x=1", "is 'a'"),
    ],
)
def test_wrong_override_says_what_to_do(override, message, tmp_path):
    base = {"name": "a"} if override.startswith("name.") else {}
    path = tmp_path / "c.yaml"
    path.write_text("name: a\n" if base else "")
    with pytest.raises(ConfigError) as error:
        load_config(Outer, path, [override])
    if override != "name.x=1":
        assert message in str(error.value)
    else:
        assert "'name' is a value" in str(error.value)


class Pair(Config):
    low: int = 0
    high: int = 1

    @model_validator(mode="after")
    def _ordered(self):
        if self.low > self.high:
            raise ValueError("low must not be above high")
        return self


class Holder(Config):
    pair: Pair = Pair()


def test_a_check_of_several_keys_says_only_what_it_found():
    with pytest.raises(ConfigError, match=r"^low=2 \(command line\): low must not be above high\.$"):
        load_config(Pair, overrides=["low=2"])
    with pytest.raises(
        ConfigError, match=r"^pair.low=2 \(command line\): key 'pair': low must not be above high\.$"
    ):
        load_config(Holder, overrides=["pair.low=2"])


@pytest.mark.parametrize(("old", "new"), [
    ("imitate=0.5", "imitation_fraction"), ("ppo.trace_decay=0.9", r"ppo\.gae_lambda"),
    ("ppo.gradient_norm_max=1", r"ppo\.max_grad_norm"),
])  # fmt: skip
def test_a_renamed_key_is_named_with_its_new_name(old, new):
    with pytest.raises(ConfigError, match=f"key '{old.partition('=')[0]}' is now called '{new}'"):
        load_config(TrainConfig, None, ["task=fr3/reach", old])


def test_overrides_do_not_change_their_input():
    data = {"inner": {"learning_rate": 1.0}}
    apply_overrides(data, ["inner.learning_rate=2"])
    assert data == {"inner": {"learning_rate": 1.0}}


def test_missing_and_malformed_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match="No config file 'nowhere.yaml'"):
        config_path("nowhere.yaml")
    with pytest.raises(ConfigError, match="Unknown config file 'train/nowhere.yaml'"):
        config_path("train/nowhere.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_yaml(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="must hold"):
        read_yaml(tmp_path / "list.yaml")


def test_a_misspelt_file_is_named_beside_its_neighbours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "profile.yaml").write_text("a: 1\n")
    with pytest.raises(
        ConfigError, match="Unknown config file 'cell/profil.yaml'.*Did you mean 'cell/profile.yaml'"
    ):
        config_path("cell/profil.yaml")


def test_several_faults_are_sentences_one_after_the_other():
    with pytest.raises(ConfigError) as refused:
        build(TrainConfig, {"sed": 1, "num_env": 2}, "my.yaml")
    assert ".;" not in str(refused.value)
    assert "Did you mean 'seed'? my.yaml: Unknown key 'num_env'." in str(refused.value)
