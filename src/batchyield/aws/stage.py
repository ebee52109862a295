"""One stage: `foundation` is made once, `up` makes a stage, `deploy` has it serve a version."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from batchyield.aws.cloud import Cloud
from batchyield.aws.migration import migrate
from batchyield.aws.stacks import outputs_of
from batchyield.errors import SetupError
from batchyield.keys import read_keys

TEMPLATES = Path("deploy/aws")
FOUNDATION = "batchyield-foundation"
IMAGES = "batchyield"
MIGRATION, SERVICE = "migration", "service"
PARTS = ("network", "data", "platform")
"""Stacks of a stage that `up` makes, each from the outputs of those before; `deploy` makes the other two."""


def foundation(aws: Cloud, repository: str, provider: str = "", *, dry_run: bool = False) -> dict[str, str]:
    """Makes or updates what all stages share; its outputs.

    Args:
        aws: where.
        repository: on GitHub, as OWNER/NAME.
        provider: ARN of the account's OIDC provider of GitHub Actions, where it has one.
        dry_run: tell what would change, and change nothing.
    """
    given = {"Repository": repository} | ({"OidcProvider": provider} if provider else {})
    if dry_run:
        aws.stacks.preview(FOUNDATION, given, _template("foundation"))
        return {}
    aws.stacks.change(FOUNDATION, given, _template("foundation"))
    return aws.stacks.outputs(FOUNDATION)


def up(aws: Cloud, stage: str, given: Mapping[str, str], *, dry_run: bool = False) -> dict[str, str]:
    """Makes or updates a stage: network, then data, then service; the outputs of all.

    Args:
        aws: where.
        stage: of the registry.
        given: parameters of any of the three templates.
        dry_run: tell what would change, as far as it can be told before what it stands on is there.

    Raises:
        SetupError: a parameter is of none of them, or a stack cannot be made.
    """
    texts = _templates(aws, (*PARTS, SERVICE), given)
    made = aws.stacks.outputs(FOUNDATION) | {"Stage": stage}
    for part in PARTS if aws.stacks.find(stack_of(stage, SERVICE)) is None else (*PARTS, SERVICE):
        name = stack_of(stage, part)
        (aws.stacks.preview if dry_run else aws.stacks.change)(name, made | dict(given), texts[part])
        found = aws.stacks.find(name)
        if found is None:
            aws.say(f"{name}: what stands on it can be told when it is there")
            return {}
        made |= outputs_of(found)
    return made


def keys(aws: Cloud, stage: str, file: Path) -> None:
    """Has the stage's service accept the keys of a file, as `batchyield key` writes it; tasks are replaced one by one.

    Raises:
        SetupError: the file cannot be read as keys, or holds none.
    """
    if not read_keys(file):
        raise SetupError(f"{file} holds no key", "`batchyield key add NAME --scope predict --file FILE` makes one")
    secret = aws.stacks.outputs(stack_of(stage, "data"))["KeysSecret"]
    aws.secrets.put_secret_value(SecretId=secret, SecretString=file.read_text())
    service = aws.stacks.find(stack_of(stage, SERVICE))
    if service is not None:
        cluster = aws.stacks.outputs(stack_of(stage, "platform"))["ClusterName"]
        aws.ecs.update_service(cluster=cluster, service=outputs_of(service)["ServiceName"], forceNewDeployment=True)
        aws.say("new tasks with these keys replace those that run")


def deploy(
    aws: Cloud, stage: str, version: str, given: Mapping[str, str] = MappingProxyType({}), *, dry_run: bool = False
) -> bool:
    """Has a stage serve a version, the journal brought up to date first; whether anything changed.

    Args:
        aws: where.
        stage: of the registry.
        version: whose image the registry of images has.
        given: parameters of the service, for example `MostTasks`; what is not given stays as it was.
        dry_run: tell what would change, and change nothing.

    Raises:
        SetupError: there is no such image, stage or parameter, the migration failed, or the new tasks did not come up;
            what served before serves on.
    """
    texts = _templates(aws, (MIGRATION, SERVICE), given)
    image = image_of(aws, version)
    made = {"Stage": stage, "Image": image, "Version": version}
    for part in PARTS:
        made |= aws.stacks.outputs(stack_of(stage, part))
    changed = False
    for part, text in texts.items():
        name, values = stack_of(stage, part), made | dict(given)
        if dry_run:
            changed = bool(aws.stacks.preview(name, values, text)) or changed
            continue
        changed = aws.stacks.change(name, values, text) or changed
        if part == MIGRATION:
            migrate(aws, made | aws.stacks.outputs(name))
    return changed


def image_of(aws: Cloud, version: str) -> str:
    """The image of a version by its digest, so that what was looked at is what runs.

    Raises:
        SetupError: the registry has none.
    """
    from botocore.exceptions import ClientError

    try:
        found = aws.ecr.describe_images(repositoryName=IMAGES, imageIds=[{"imageTag": version}])["imageDetails"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ImageNotFoundException", "RepositoryNotFoundException"):
            raise
        raise SetupError(
            f"the registry of images has no {IMAGES}:{version}",
            "the release workflow pushes it; `make image VERSION=…` and docker push do by hand",
        ) from None
    host = f"{found['registryId']}.dkr.ecr.{aws.ecr.meta.region_name}.amazonaws.com"
    return f"{host}/{IMAGES}@{found['imageDigest']}"


class State(msgspec.Struct, frozen=True):
    """What a stage does now.

    Attributes:
        stage: of the registry.
        address: of its balancer.
        version: of the model; empty before the first deployment.
        running: tasks that run.
        wanted: tasks that there should be.
        rollout: of the newest deployment, as ECS says it.
    """

    stage: str
    address: str
    version: str = ""
    running: int = 0
    wanted: int = 0
    rollout: str = ""


def state(aws: Cloud, stage: str) -> State:
    """What a stage does now."""
    told = aws.stacks.outputs(stack_of(stage, "platform"))
    service = aws.stacks.find(stack_of(stage, SERVICE))
    if service is None:
        return State(stage, told["Address"])
    told |= outputs_of(service)
    found = aws.ecs.describe_services(cluster=told["ClusterName"], services=[told["ServiceName"]])["services"][0]
    newest = (found.get("deployments") or [{}])[0]
    return State(
        stage,
        told["Address"],
        told["Serving"],
        found["runningCount"],
        found["desiredCount"],
        newest.get("rolloutState", ""),
    )


def stack_of(stage: str, part: str) -> str:
    """Name of one of a stage's stacks."""
    return f"batchyield-{stage}-{part}"


def _templates(aws: Cloud, parts: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    """The text of each part, where every parameter that is given is one of theirs."""
    texts = {part: _template(part) for part in parts}
    if unknown := sorted(set(given).difference(*map(aws.stacks.parameters, texts.values()))):
        raise SetupError(f"no template has a parameter {', '.join(unknown)}", f"{TEMPLATES}/*.yaml have them")
    return texts


def _template(part: str) -> str:
    file = TEMPLATES / f"{part}.yaml"
    try:
        return file.read_text()
    except FileNotFoundError:
        raise SetupError(f"{file} is not here", "run it in the checkout's root") from None
