"""Finds the pull request that a report belongs to, and validates what the untrusted run left.

Run as `python -m batchyield.review.comment_target FOLDER` by the workflow that may comment, with nothing installed.
The code of a pull request wrote the report and the number beside it; it may comment on its own pull request only.
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
"""GitHub rejects comments of more than 65,536 characters, and CML adds its watermark."""

CLOSING_CHARACTERS = 100
CUT = "\n\n_The rest is cut; the summary of the workflow's run has all of it._\n"


def find_pull_request(folder: Path, api: str, repository: str, head: str, token: str) -> int:
    """Return the number of the pull request whose head is `head`, and truncate a report that is too long.

    Args:
        folder: with `report.md` and `number`, written by untrusted code.
        repository: `owner/name`.
        head: commit of the run, from GitHub's event.

    Raises:
        ConfigError: the number or the report cannot be read.
        ServiceError: GitHub cannot be reached or refuses.
        ConflictError: the pull request's head is another commit.
    """
    number, report = _text(folder / "number").strip(), _text(folder / "report.md")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        raise ConfigError(f"{number[:20]!r} is not a pull request number", "run the workflow `pr` again")
    request = urllib.request.Request(  # noqa: S310 - the address is GitHub's own, from its runner
        f"{api}/repos/{repository}/pulls/{number}",
        headers={"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            sha = json.load(answer)["head"]["sha"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServiceError(
            f"GitHub returned no head of pull request {number}: {error}", "run the workflow again"
        ) from error
    if sha != head:
        raise ConflictError(
            f"the head of pull request {number} is {str(sha)[:12]}, but the report is of {head[:12]}",
            "nothing to do if somebody pushed since: the newer run comments",
        )
    if len(report) > MAX_COMMENT_CHARACTERS:
        (folder / "report.md").write_text(truncate(report), encoding="utf-8")
    return int(number)


def truncate(report: str) -> str:
    """Return the beginning of a report with a note; what is open where it ends, a section or a block, is closed."""
    end = MAX_COMMENT_CHARACTERS - len(CUT) - CLOSING_CHARACTERS
    lines = report[:end].split("\n")
    kept = "\n".join(lines[:-1] or lines)  # the last line may be half a row of a table
    fence = "\n```" * (kept.count("\n```") % 2)
    return kept + fence + "\n\n</details>" * (kept.count("<details>") - kept.count("</details>")) + CUT


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file.name} cannot be read: {error}", "run the workflow `pr` again") from error


def main(arguments: list[str]) -> int:
    """Print the number and append it to $GITHUB_OUTPUT."""
    try:
        keys = ("GITHUB_API_URL", "GITHUB_REPOSITORY", "HEAD_SHA", "GITHUB_TOKEN")
        missing = [key for key in keys if not os.environ.get(key)]
        if len(arguments) != 1 or missing:
            raise ConfigError(
                f"expected one folder and ${', $'.join(keys)}; not set: {', '.join(missing) or 'none'}",
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
