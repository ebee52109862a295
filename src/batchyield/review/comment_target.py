"""Whom a report is for: what a run of untrusted code left is checked before anything with rights touches it.

Run as `python -m batchyield.review.comment_target FOLDER` by the workflow that may comment, with nothing installed.
The code of a pull request wrote the report and the number beside it; it may comment on its own pull request and on
no other.
"""

import json
import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

from batchyield.errors import BatchyieldError, ConfigError, ConflictError, ServiceError

MAX_COMMENT_CHARACTERS = 65_000
"""Characters; GitHub refuses a comment beyond 65,536, and CML adds its watermark."""

CUT = "\n\n_The rest is cut; the summary of the workflow's run has all of it._\n"


def find_pull_request(folder: Path, api: str, repository: str, head: str, token: str) -> int:
    """The number of the pull request whose head the run was of; a report that is too long is cut.

    Args:
        folder: with `report.md` and `number`, written by untrusted code.
        api: address of GitHub's API.
        repository: `owner/name`.
        head: commit of the run, as GitHub says it.
        token: that may read pull requests.

    Raises:
        ConfigError: the number or the report cannot be read.
        ServiceError: GitHub cannot be reached or refuses.
        ConflictError: the pull request's head is another commit.
    """
    said, report = _text(folder / "number").strip(), _text(folder / "report.md")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", said):
        raise ConfigError(f"{said[:20]!r} is no number of a pull request", "run the workflow `pr` again")
    request = urllib.request.Request(  # noqa: S310 - the address is GitHub's own, from its runner
        f"{api}/repos/{repository}/pulls/{said}",
        headers={"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            found = json.load(answer)["head"]["sha"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServiceError(
            f"GitHub returned no head of pull request {said}: {error}", "run the workflow again"
        ) from error
    if found != head:
        raise ConflictError(
            f"pull request {said} has head {str(found)[:12]}, and the report is of {head[:12]}",
            "nothing to do if it was pushed to since: the newer run comments",
        )
    if len(report) > MAX_COMMENT_CHARACTERS:
        (folder / "report.md").write_text(report[: MAX_COMMENT_CHARACTERS - len(CUT)] + CUT, encoding="utf-8")
    return int(said)


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file.name} cannot be read: {error}", "run the workflow `pr` again") from error


def main(arguments: list[str]) -> int:
    """Prints the number, and writes it where GitHub's next steps find it."""
    try:
        keys = ("GITHUB_API_URL", "GITHUB_REPOSITORY", "HEAD_SHA", "GITHUB_TOKEN")
        lacking = [key for key in keys if not os.environ.get(key)]
        if len(arguments) != 1 or lacking:
            raise ConfigError(
                f"expected one folder and ${', $'.join(keys)}; not set: {', '.join(lacking) or 'none'}",
                "this runs in the workflow `comment`; locally `make report` shows the report",
            )
        number = find_pull_request(Path(arguments[0]), *(os.environ[key] for key in keys))
    except BatchyieldError as error:
        print(f"comment: {error}", file=sys.stderr)
        return error.exit_code
    print(f"pull request {number}")
    if output := os.environ.get("GITHUB_OUTPUT"):
        with Path(output).open("a", encoding="utf-8") as file:
            file.write(f"number={number}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
