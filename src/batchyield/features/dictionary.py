"""The data dictionary, written from the code: `python -m batchyield.features.dictionary > docs/features.md`."""

from batchyield.features.catalogue import FEATURES, GROUPS
from batchyield.features.repair import HIGHEST_PRODUCT, KINDS, LOWEST_PRODUCT, PLAUSIBLE
from batchyield.features.row import LONGEST_RANGE, LONGEST_STEP


def markdown() -> str:
    """The text of `docs/features.md`."""
    lines = [
        "# Features",
        "",
        f"`batchyield.features.featurize` makes {len(FEATURES)} numbers of a batch, always all of them and in this",
        "order; training and serving call the same function. A number that is not known is missing (NaN), never",
        "guessed. Which groups a model sees is chosen in `conf/features/`; the choice is part of the model, so serving",
        "has no setting.",
        "",
        "This page is written by `python -m batchyield.features.dictionary`.",
    ]
    for group, about in GROUPS.items():
        lines += ["", f"## {group.capitalize()}", "", f"{about[0].upper()}{about[1:]}.", ""]
        lines += ["| # | name | unit | what it is |", "|---|---|---|---|"]
        lines += [
            f"| {i} | `{feature.name}` | {feature.unit} | {feature.description} |"
            for i, feature in enumerate(FEATURES)
            if feature.group == group
        ]
    lines += [
        "",
        "## Repairs",
        "",
        "No row is refused for a cell. A number is put right where the other readings say what it must have been, and",
        "is missing otherwise; a warning names the cell either way. The rules look at the inputs alone.",
        "",
        f"B14/A1 of a real batch lies between {LOWEST_PRODUCT:g} and {HIGHEST_PRODUCT:g}; a step lasts less than "
        f"{LONGEST_STEP / 60:g} hours, a range at most {LONGEST_RANGE / 60:g}.",
        "",
        "| kind | what was found and done |",
        "|---|---|",
        *(f"| `{kind}` | {about} |" for kind, about in KINDS.items()),
        "",
        "Outside these bounds a number is `implausible_number`:",
        "",
        "| reading | from | to |",
        "|---|---|---|",
        *(f"| {name} | {low:g} | {high:g} |" for name, (low, high) in PLAUSIBLE.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
