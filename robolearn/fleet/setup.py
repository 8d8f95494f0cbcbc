"""New folders: a coordinator's, and a site's from what the coordinator hands out."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

from robolearn.config import build
from robolearn.errors import ConfigError
from robolearn.files.strict_yaml import dump_yaml
from robolearn.files.writing import replace_file
from robolearn.fleet.certificates import make_authority, make_node_key, make_server_certificate
from robolearn.fleet.engine import app_digest
from robolearn.fleet.settings import FEDERATION_FILE, SITE_FILE, Federation, Folder, SiteSettings

SITES_FOLDER = "sites"


def new_federation(path: str | Path, federation: Federation) -> Folder:
    """A coordinator's folder: settings, certificates, and sites/, where the sites' public keys go.

    Raises ConfigError where there is one already.
    """
    folder = Folder(path)
    if (folder / FEDERATION_FILE).exists():
        raise ConfigError(
            f"'{folder.path}' holds a federation already. Edit its {FEDERATION_FILE}, or choose another."
        )
    folder.path.mkdir(parents=True, exist_ok=True)
    (folder / SITES_FOLDER).mkdir(exist_ok=True)
    make_authority(folder.path, federation.name)
    make_server_certificate(folder.path, federation.host)
    replace_file(folder / FEDERATION_FILE, to_yaml(federation))
    return folder


def new_site(path: str | Path, source: str | Path, name: str, port: int) -> Folder:
    """A site's folder, from the coordinator's federation.yaml and ca.crt: own settings, own node key.

    The list of allowed apps begins with the one that this robolearn brings. Raises ConfigError.
    """
    folder, shared = Folder(path), Folder(source)
    shared.federation()
    if folder.is_site:
        raise ConfigError(f"'{folder.path}' is a site already.")
    folder.path.mkdir(parents=True, exist_ok=True)
    for needed in (FEDERATION_FILE, "ca.crt"):
        if not (shared / needed).is_file():
            raise ConfigError(f"'{shared.path}' holds no {needed}, which the coordinator hands out.")
        shutil.copyfile(shared / needed, folder / needed)
    make_node_key(folder.path, name)
    told = {
        "schema": "robolearn.site/1",
        "name": name,
        "seed": zlib.crc32(name.encode()) >> 1,  # of its own: sites with one seed draw the same noise
        "port": port,
        "allowed_apps": [app_digest()],
    }
    site = build(SiteSettings, told, str(folder / SITE_FILE))
    replace_file(folder / SITE_FILE, to_yaml(site))
    return folder


def to_yaml(settings: Federation | SiteSettings) -> str:
    """The file of these settings."""
    return dump_yaml(settings.model_dump(mode="json", by_alias=True))


def site_keys(folder: Folder) -> dict[str, Path]:
    """The public keys in sites/, by the pseudonym that each file's name is. Raises ConfigError where there is none."""
    keys = {path.stem: path for path in sorted((folder / SITES_FOLDER).glob("*.pub"))}
    if not keys:
        raise ConfigError(
            f"No public key in {folder / SITES_FOLDER}. Put each site's node.pub there as NAME.pub."
        )
    return keys
