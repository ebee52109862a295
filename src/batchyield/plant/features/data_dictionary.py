"""Writes docs/features.md: `python -m batchyield.plant.features.data_dictionary > docs/features.md`."""

from batchyield.plant.features.catalogue import FEATURES
from batchyield.plant.features.plausibility import PLAUSIBLE, WARNING_KINDS
from batchyield.plant.table import GROUPS, MAX_RANGE_MINUTES, MAX_STEP_MINUTES, REPAIRS


def markdown() -> str:
    """Return the text of `docs/features.md`."""
    lines = [
        "# Features",
        "",
        f"`batchyield.plant.features.featurize` returns {len(FEATURES)} numbers for a batch,"
        " in the order of this page.",
        "Training and serving call the same function. An unknown number is missing (NaN), never guessed.",
        "",
        "`conf/features/` selects the groups that a model uses. The choice is part of the model, so",
        "serving has no setting.",
        "",
        "`python -m batchyield.plant.features.data_dictionary` generates this page.",
    ]
    for group, about in GROUPS.items():
        lines += ["", f"## {group.capitalize()}", "", f"{about[0].upper()}{about[1:]}.", ""]
        lines += ["| # | name | unit | what it is |", "|---|---|---|---|"]
        for i, (name, unit, of, description) in enumerate(FEATURES):
            if of == group:
                lines.append(f"| {i} | `{name}` | {unit} | {description} |")
    lines += [
        "",
        "## Repairs",
        "",
        "No row is rejected for a cell. A wrong number is corrected if the other readings determine its value, and is",
        "missing otherwise. A warning names the cell in both cases. The rules use the inputs only.",
        "",
        " ".join(
            (
                *(rule.note for rule in REPAIRS),
                f"A step lasts less than {MAX_STEP_MINUTES / 60:g} hours, a range at most {MAX_RANGE_MINUTES / 60:g}.",
            )
        ),
        "",
        "| kind | problem and repair |",
        "|---|---|",
        *(f"| `{kind}` | {about} |" for kind, about in WARNING_KINDS.items()),
        "",
        "A number outside these bounds is `implausible_number`:",
        "",
        "| reading | from | to |",
        "|---|---|---|",
        *(f"| {name} | {low:g} | {high:g} |" for name, (low, high) in PLAUSIBLE.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
