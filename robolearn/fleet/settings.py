"""What a federation and a site are made of: two YAML files, one that all share and one that stays at the site.

federation/federation.yaml   task, rounds, rule, limits, privacy: the coordinator's, copied to every site
north/site.yaml              the site's own: arm, data, veto; never sent
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from robolearn.config import Config, load_config
from robolearn.errors import ConfigError
from robolearn.fleet.aggregate import Rule

FEDERATION_FILE, SITE_FILE = "federation.yaml", "site.yaml"
NODES_FILE = "nodes.json"  # {node id: pseudonym} of the sites that the server knows
# Set for Flower's processes by `robolearn federate`: the coordinator's folder, and the site's.
FEDERATION_VARIABLE, SITE_VARIABLE = "ROBOLEARN_FEDERATION", "ROBOLEARN_SITE"
SECURE_SITES_MIN = 3  # of two, each knows the other's update from the sum and its own
Port = Annotated[int, Field(ge=1024, le=65535)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Privacy(Config):
    """Differential privacy of the sites: the global vectors reveal little about whether one site took part."""

    noise_multiplier: PositiveFloat = Field(description="standard deviation of the noise, over clip_norm")
    delta: float = Field(gt=0.0, lt=1.0)
    epsilon_max: PositiveFloat = Field(description="a round that would spend more is refused")
    unit: str = Field(default="site", description="what may be added or removed; 'site' is the only one")

    @field_validator("unit")
    @classmethod
    def _known(cls, unit: str) -> str:
        if unit == "demonstration":
            raise ValueError(
                "privacy of one demonstration within a site is not there: it needs the gradient of every episode by "
                "itself, clipped, in every step; the trainer computes a minibatch's. Use unit: site"
            )
        if unit != "site":
            raise ValueError(f"unit is '{unit}', expected 'site'")
        return unit


class Federation(Config):
    """What every site and the coordinator agree on.

    train: overrides of the training config, such as {ppo: {learning_rate: 0.001}}. norm_max: a longer update is
    refused. clip_norm: a site shortens its own update to this before it leaves; null: it does not.
    secure_aggregation: sites mask their updates, so that the server sees their sum only.
    """

    schema_: Annotated[Literal["robolearn.federation/1"], Field(alias="schema")]
    name: Name
    task: str
    address: str = "127.0.0.1:18000"
    rounds: PositiveInt = 8
    local_iterations: PositiveInt = 4
    train: dict[str, Any] = {}
    rule: Rule = "mean"
    trim: int = Field(default=1, ge=0)
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0)
    norm_max: PositiveFloat = 100.0
    clip_norm: PositiveFloat | None = None
    sites_min: PositiveInt = 2
    round_timeout_s: PositiveFloat = 1800.0
    privacy: Privacy | None = None
    secure_aggregation: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Federation:
        if self.privacy is not None and self.clip_norm is None:
            raise ValueError("privacy needs clip_norm: what one site can change is bounded by it")
        if self.privacy is not None and self.rule != "mean":
            raise ValueError(f"privacy is accounted for the rule 'mean' only, not for '{self.rule}'")
        if self.secure_aggregation and (self.clip_norm is None or self.rule != "mean"):
            raise ValueError(
                "secure_aggregation needs clip_norm and the rule 'mean': the server sees one sum, which it can neither "
                "clip nor sort by site"
            )
        host, _, port = self.address.rpartition(":")
        if not host or not port.isdecimal() or not 1024 <= int(port) <= 65535:
            raise ValueError(
                f"address is '{self.address}', expected host:port with a port from 1024 to 65535"
            )
        return self

    @property
    def host(self) -> str:
        """Where the server listens."""
        return self.address.rpartition(":")[0]

    @property
    def port(self) -> int:
        """And on which port."""
        return int(self.address.rpartition(":")[2])

    @property
    def iterations(self) -> int:
        """Of the whole training, at each site."""
        return self.rounds * self.local_iterations

    @property
    def digest(self) -> str:
        """SHA-256 of the resolved file, in hex: a site takes part in what it has agreed to, and nothing else."""
        return hashlib.sha256(self.to_yaml().encode()).hexdigest()


class SiteSettings(Config):
    """A site's own file. Nothing in it is sent.

    num_envs, seed, env, calibration: its simulation or arm, merged into the common training config. work: the function
    that trains, MODULE:NAME. allowed_apps: SHA-256 digests of the apps that the site runs; any other is refused.
    rounds_max: the site answers no more rounds than this. port: of the node's own interface, loopback only. personal:
    parts of the vector that the site trains and keeps for itself, such as actor/3; its update is zero there.
    """

    schema_: Annotated[Literal["robolearn.site/1"], Field(alias="schema")]
    name: Name
    num_envs: PositiveInt | None = None
    seed: int = Field(default=0, ge=0, lt=2**31)
    env: dict[str, Any] = {}
    calibration: str = ""
    work: str = "robolearn.fleet.work:train_round"
    allowed_apps: tuple[Digest, ...] = ()
    rounds_max: PositiveInt = 100
    personal: tuple[str, ...] = ()
    port: Port = 18100


class Folder:
    """A coordinator's or a site's folder: where its files are."""

    def __init__(self, path: str | Path):
        self.path = Path(path).absolute()

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def federation(self) -> Federation:
        """The federation's file. Raises ConfigError where there is none."""
        if not (self / FEDERATION_FILE).is_file():
            raise ConfigError(
                f"'{self.path}' holds no {FEDERATION_FILE}. `robolearn federate init` makes one."
            )
        return load_config(Federation, self / FEDERATION_FILE)

    def site(self) -> SiteSettings:
        """The site's file. Raises ConfigError where there is none."""
        if not (self / SITE_FILE).is_file():
            raise ConfigError(
                f"'{self.path}' holds no {SITE_FILE}. `robolearn federate init SITE --site --from FOLDER` makes one."
            )
        return load_config(SiteSettings, self / SITE_FILE)

    @property
    def is_site(self) -> bool:
        """Whether it is a site's."""
        return (self / SITE_FILE).is_file()
