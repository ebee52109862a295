"""What is asked of AWS, and what its refusals mean to whoever runs the command."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from batchyield.errors import SetupError

STEPS = "docs/deploy-aws.md has the steps"


def client(service: str) -> Any:
    """A client of botocore for `service`, with keys and region by botocore's own chain.

    Raises:
        SetupError: no region is named.
    """
    import botocore.session
    from botocore.exceptions import NoRegionError

    try:
        return botocore.session.Session().create_client(service)
    except NoRegionError:
        raise SetupError("no region of AWS is named", "set AWS_REGION, for example to eu-central-1") from None


@contextmanager
def told() -> Iterator[None]:
    """Refusals of AWS within it, as errors that say what to do.

    Raises:
        SetupError: AWS cannot be asked, or refuses.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise SetupError(f"AWS cannot be asked: {error}", "`aws sso login`, or set AWS_PROFILE") from None
    except ClientError as error:
        what, why = error.operation_name, error.response.get("Error", {})
        code, message = why.get("Code", ""), why.get("Message", "")
        remedy = "the role needs what docs/deploy-aws.md lists" if "Denied" in code else STEPS
        raise SetupError(f"AWS refuses {what}: {code}: {message}", remedy) from None
    except BotoCoreError as error:
        profile = os.environ.get("AWS_PROFILE")
        raise SetupError(
            f"AWS cannot be asked: {error}", f"look at the profile {profile}" if profile else "repeat when it answers"
        ) from None
