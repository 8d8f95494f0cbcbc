"""Safety profiles: every number the monitor checks against, with its unit, source, trust and risk assessment.

A profile is one YAML file for one robot. `common` holds what all modes share, `modes` what each mode adds or
replaces; every mode must come out complete. A number is written

    tcp_speed_max_m_s: {value: 1.0, source: ..., trust: integrator, risk_assessment_ref: RA-...}

and a check that cannot be made says so: `{not_checked: why, risk_assessment_ref: ...}`. Nothing defaults to
"unlimited". Validation refuses what is missing, contradictory, or looser than the robot's manufacturer publishes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from robolearn.config import Config, build, config_path, read_document
from robolearn.errors import ConfigError, ProfileError, unknown
from robolearn.files.strict_yaml import Document
from robolearn.robots import Robot
from robolearn.robots.sourced import Text
from robolearn.safety.assessed import Assessed, EnablingDevice, NotChecked
from robolearn.safety.mode_schema import Box, ModeLimits, Plane, Workspace
from robolearn.safety.people import Contact, Separation
from robolearn.safety.plausible import implausible
from robolearn.safety.profile_checks import check_home, check_mode, check_mode_against

__all__ = [
    "MODES", "Assessed", "Box", "Contact", "EnablingDevice", "ModeLimits", "NotChecked",
    "Plane", "SafetyProfile", "Separation", "Workspace",
]  # fmt: skip
MODES = ("manual_reduced", "automatic", "collaborative")


class SafetyProfile(Config):
    """One robot's profile: limits per mode, and the digest of the file they came from."""

    name: str
    robot: Text
    title: Text
    risk_assessment_ref: Text
    modes: dict[str, ModeLimits]
    digest: str

    @classmethod
    def load(cls, path_or_name: str | Path) -> SafetyProfile:
        """A profile from a YAML file, or by the name of one that came with robolearn (`fr3`).

        Raises ProfileError naming every missing, unknown or impossible value.
        """
        name = str(path_or_name)
        try:
            plain = not name.endswith((".yaml", ".yml"))
            path = config_path(f"safety/{name}.yaml" if plain else path_or_name)
            document = read_document(path)
        except ConfigError as error:
            raise ProfileError(str(error)) from None
        return cls.from_data(document.data, Path(path).stem, document.digest, document)

    @classmethod
    def from_data(
        cls, data: dict[str, Any], name: str, digest: str, document: Document | None = None
    ) -> SafetyProfile:
        """A profile from the content of its file; document: where each key stands in it. Raises ProfileError."""
        line = None if document is None else document.line
        common, modes = _groups(data, name)
        try:
            resolved = {
                mode: build(
                    ModeLimits,
                    {**common, **extra},
                    f"profile '{name}', mode {mode}",
                    _in_mode(line, mode, extra),
                )
                for mode, extra in modes.items()
            }
            facts = {key: data.get(key) for key in ("robot", "title", "risk_assessment_ref")}
            profile = build(
                cls, {"name": name, **facts, "modes": resolved, "digest": digest}, f"profile '{name}'", line
            )
        except ConfigError as error:
            raise ProfileError(str(error)) from None
        for mode, limits in profile.modes.items():
            where = f"Profile '{name}', mode {mode}"
            _plausible(limits, where, _in_mode(line, mode, modes[mode]))
            check_mode(mode, limits, where)
        return profile

    def mode(self, mode: str) -> ModeLimits:
        """The limits of one mode. Raises ProfileError for a mode that does not exist."""
        if mode not in self.modes:
            raise ProfileError(unknown("mode", mode, self.modes))
        return self.modes[mode]

    def check_against(self, robot: Robot) -> None:
        """Raise ProfileError where a limit is looser than the manufacturer's, or does not fit the robot.

        The latter includes a cell in which the arm may not even rest at its home position.
        """
        if self.robot != robot.arm:
            raise ProfileError(
                f"Profile '{self.name}' is for robot '{self.robot}', not for '{robot.arm}'. Use its own profile."
            )
        for mode, limits in self.modes.items():
            check_mode_against(robot, limits, f"Profile '{self.name}', mode {mode}")
        for mode, limits in self.modes.items():
            check_home(robot, limits, f"Profile '{self.name}', mode {mode}")


def _groups(data: dict[str, Any], name: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What all modes share, and what each mode adds, from a file whose outline is as it must be."""
    schema = data.get("schema")
    if schema != "robolearn.safety_profile/1":
        raise ProfileError(
            f"Profile '{name}': schema is {str(schema)[:80]!r}, expected robolearn.safety_profile/1."
        )
    allowed = {"schema", "robot", "title", "risk_assessment_ref", "common", "modes"}
    for key in data.keys() - allowed:
        raise ProfileError(f"Profile '{name}': " + unknown("key", str(key), allowed))
    common, modes = data.get("common"), data.get("modes")
    if not isinstance(modes, dict) or set(modes) != set(MODES):
        raise ProfileError(f"Profile '{name}': modes must be exactly {', '.join(MODES)}.")
    for key, group in (("common", common), *((f"modes.{mode}", extra) for mode, extra in modes.items())):
        if not isinstance(group, dict | None):
            raise ProfileError(
                f"Profile '{name}': {key} must hold `limit: ...` lines, not a {type(group).__name__}."
            )
    return common or {}, {mode: extra or {} for mode, extra in modes.items()}


def _in_mode(
    line: Callable[..., int | None] | None, mode: str, extra: dict[str, Any]
) -> Callable[..., int | None] | None:
    """Lines of a mode's keys: its own, or those of what all modes share."""
    if line is None:
        return None
    return lambda *path: line(*(("modes", mode) if path and path[0] in extra else ("common",)), *path)


def _plausible(limits: ModeLimits, where: str, line: Callable[..., int | None] | None) -> None:
    """Refuse a number that no arm has."""
    found = implausible(limits)
    if found is not None:
        text, path = found
        at = line(*path) if line is not None else None
        raise ProfileError(f"{where}{f', line {at}' if at else ''}: {text}. Check the unit.")
