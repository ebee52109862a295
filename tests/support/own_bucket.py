"""A second S3 server with other keys and another bucket, as a team has one of its own."""

import contextlib

from dvc.config import Config

from batchyield.versioning.storage import embedded_s3

BUCKET = "plant-archive"


@contextlib.contextmanager
def own_s3(folder):
    """Yields a running server over `folder`, which has the bucket."""
    (folder / BUCKET).mkdir(parents=True)
    with embedded_s3.running(
        embedded_s3.Server(folder, embedded_s3.free_port(), "TEAMKEY", "team-secret-12")
    ) as server:
        yield server


def point_remotes(root, server):
    """Names the bucket in config.local, as the README says, with the endpoint and keys of a server that is not AWS."""
    account = {"endpointurl": server.url, "access_key_id": server.key, "secret_access_key": server.secret}
    with Config(dvc_dir=str(root / ".dvc")).edit("local") as local:
        local["remote"] = {
            "source": account | {"url": f"s3://{BUCKET}"},
            "storage": account | {"url": f"s3://{BUCKET}/dvc"},
        }
