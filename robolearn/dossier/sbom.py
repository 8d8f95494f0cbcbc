"""The bill of materials of a policy, CycloneDX 1.6: what was installed when it was trained, and the model itself."""

from __future__ import annotations

from typing import Any, cast

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from robolearn.dossier.evidence import Evidence

# Their decorators hide the parameters of the constructors from type checkers.
_COMPONENT, _HASH, _PROPERTY = cast(Any, Component), cast(Any, HashType), cast(Any, Property)


def bill_of_materials(evidence: Evidence) -> str | None:
    """The document as JSON; None where no record names what was installed.

    The model's data are named by digest: robot, task code, calibration, recorded data sets.
    """
    inputs = evidence.inputs
    if not inputs:
        return None
    bom = Bom()
    name = evidence.bundle.manifest.name if evidence.bundle else str(evidence.config.get("task"))
    model = _COMPONENT(
        name=name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="policy",
        hashes=[] if evidence.bundle is None else [_sha256(evidence.bundle.digest)],
        properties=[
            _PROPERTY(name=f"robolearn:{key}", value=value) for key, value in _training(evidence).items()
        ],
    )
    bom.metadata.component = model
    parts = []
    for package, version in sorted(inputs["environment"]["installed"].items()):
        url = PackageURL("pypi", name=package.lower().replace("_", "-"), version=version)
        parts.append(
            _COMPONENT(name=package, version=version, type=ComponentType.LIBRARY, purl=url, bom_ref=str(url))
        )
    parts += _data(evidence)
    for part in parts:
        bom.components.add(part)
    bom.register_dependency(model, parts)
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2) + "\n"


def _training(evidence: Evidence) -> dict[str, str]:
    verdict = evidence.verdict
    return {
        "run_id": "" if verdict is None else verdict.run_id,
        "task": str(evidence.config.get("task")),
        "code_sha256": str(evidence.inputs["code"]["sha256"]),
        "thresholds": str(evidence.acceptance.get("status", "not stated")),
    }


def _data(evidence: Evidence) -> list[Any]:
    """Everything that is not a package, by digest."""
    inputs, found = evidence.inputs, []
    if inputs["robot"]:
        found.append((f"robot {inputs['robot']['name']}", inputs["robot"]["sha256"]))
    if inputs["task"]["sha256"]:
        found.append((f"task code {inputs['task']['file']}", inputs["task"]["sha256"]))
    if inputs["calibration"]:
        found.append(("calibration", inputs["calibration"]["sha256"]))
        found += [(f"log {log['source']}", log["sha256"]) for log in inputs["calibration"]["logs"]]
    found += [(f"data {data['path']}", data["sha256"]) for data in inputs["data"]]
    return [
        _COMPONENT(name=name, type=ComponentType.DATA, hashes=[_sha256(digest)], bom_ref=f"{name} {digest}")
        for name, digest in found
    ]


def _sha256(digest: str) -> Any:
    return _HASH(alg=HashAlgorithm.SHA_256, content=digest)
