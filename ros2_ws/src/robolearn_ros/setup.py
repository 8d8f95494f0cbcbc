"""ament_python package; the library `robolearn` itself is installed with pip."""

from pathlib import Path

from setuptools import setup

NAME = "robolearn_ros"
NODES = (
    "sim_node",
    "policy_node",
    "motion_node",
    "safety_node",
    "gripper_node",
    "restamp_node",
    "demo_driver",
    "operate",
)


def files(folder: str) -> list[str]:
    """Files of a folder beside this one, as setuptools wants them."""
    here = Path(__file__).parent
    return [str(path.relative_to(here)) for path in sorted((here / folder).iterdir()) if path.is_file()]


setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", files("launch")),
    ],
    install_requires=["setuptools", "robolearn"],
    zip_safe=True,
    maintainer="robolearn maintainers",
    maintainer_email="robolearn@example.org",
    description="Nodes that serve a robolearn policy on an arm behind the safety monitor, and a simulated arm.",
    license="Apache-2.0",
    entry_points={"console_scripts": [f"{node} = {NAME}.{node}:main" for node in NODES]},
)
