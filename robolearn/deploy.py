"""How a policy is deployed on one arm: rates, topics, keys and approval, in `configs/deploy/*.yaml`."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from robolearn.config import Config, load_config


class Deployment(Config):
    """One arm in one cell. Empty topics mean those of the robot file."""

    robot: str
    deployment_id: str
    rate_hz: float = Field(500.0, ge=50, le=1000)
    profile: str = ""
    mode: str = "automatic"
    state_topic: str = ""
    command_topic: str = ""
    person_topic: str = "/robolearn/person_range"
    base_frame: str = "base"
    slot_topics: dict[str, str] = {}
    observation_age_max_s: float = Field(0.05, gt=0, le=1)
    trusted_keys: list[str] = []
    require_approval: bool = True
    approver_keys: list[str] = []
    operator: str = "operator"
    rt_priority: int = Field(40, ge=0, le=95)

    def policy_parameters(self) -> dict[str, Any]:
        """Parameters of policy_node."""
        return {
            "robot": self.robot,
            "state_topic": self.state_topic,
            "base_frame": self.base_frame,
            "slot_topics": [f"{source}={topic}" for source, topic in self.slot_topics.items()],
            "observation_age_max_s": self.observation_age_max_s,
            "trusted_keys": self.trusted_keys,
            "require_approval": self.require_approval,
            "approver_keys": self.approver_keys,
        }

    def safety_parameters(self) -> dict[str, Any]:
        """Parameters of safety_node."""
        return {
            "profile": self.profile,
            "mode": self.mode,
            "state_topic": self.state_topic,
            "command_topic": self.command_topic,
            "person_topic": self.person_topic,
            "deployment_id": self.deployment_id,
            "operator": self.operator,
        }


def load_deployment(path: str, overrides: list[str] | None = None) -> Deployment:
    """A deployment by path or packaged name, such as `deploy/fr3.yaml`. Raises ConfigError."""
    return load_config(Deployment, path, overrides or [])
