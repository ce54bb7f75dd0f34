"""Whether the team's bucket answers and may be read here; DVC itself tries for a minute first."""

import argparse

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

import google.auth
import google.auth.transport.requests
import requests
from dvc.exceptions import DvcException
from dvc.repo import Repo
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError

from faceverify.runs import script

GOOGLE = "https://storage.googleapis.com"
SCOPES = ["https://www.googleapis.com/auth/devstorage.read_only"]
SECONDS = 5
LOG_IN = (
    "log in with `gcloud auth application-default login`, or name a key file: docs/sharing.md, "
    '"Get access"'
)


def main() -> None:
    """Print nothing where the default remote can be read; else one line that says what to do."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    try:
        remote = Repo().cloud.get_remote()
    except DvcException as error:
        raise errors.InputError(f"{error}") from None
    if remote.fs.protocol == "gs":
        bucket, _, prefix = remote.path.partition("/")
        settings = remote.fs.fs_args  # what DVC hands to its own client
        url = f"{settings['endpoint_url'] or GOOGLE}/storage/v1/b/{bucket}/o"
        ask(url, f"gs://{bucket}", prefix, credentials(f"gs://{bucket}", settings["token"]))


def credentials(bucket: str, token: str | None) -> Credentials:
    """Those that DVC would take; `token` is "anon", the path of a key file, or None for Google's.

    Raises InputError where there are none.
    """
    if token == "anon":
        return AnonymousCredentials()
    try:
        if token:
            return google.auth.load_credentials_from_file(token, SCOPES)[0]
        return google.auth.default(SCOPES)[0]
    except DefaultCredentialsError as error:
        said = f"{error}".rstrip(".") if token else "there are none on this machine"
        raise errors.InputError(f"no credentials for {bucket}: {said}; {LOG_IN}") from None


def ask(url: str, bucket: str, prefix: str, known: Credentials) -> None:
    """List one object; InputError where nobody answers, or the answer is a refusal."""
    session = google.auth.transport.requests.AuthorizedSession(known)
    wanted = {"prefix": prefix, "maxResults": 1}
    try:
        status = session.get(url, params=wanted, timeout=SECONDS).status_code
    except (requests.RequestException, TransportError) as error:
        reason = "within 5 seconds" if isinstance(error, requests.Timeout) else "from here"
        raise errors.InputError(
            f"{bucket}: {url.split('/storage/')[0]} does not answer {reason}; check the network, "
            "and HTTPS_PROXY where it is set"
        ) from None
    except GoogleAuthError as error:
        raise errors.InputError(f"{bucket}: {error}; {LOG_IN}") from None
    if status != requests.codes.ok:
        raise errors.InputError(
            f"{bucket} may not be read with these credentials (status {status}): ask its owner for "
            'the role of docs/sharing.md, "Get access"'
        )


if __name__ == "__main__":
    script.run(main)
