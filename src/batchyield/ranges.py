"""What parameters are made of: the ranges of their numbers, and the struct that takes no misspelt name."""

from typing import Annotated

import msgspec
from msgspec import Meta

Fraction = Annotated[float, Meta(gt=0, lt=1)]
Count = Annotated[int, Meta(ge=1)]
Folds = Annotated[int, Meta(ge=2)]
Seed = Annotated[int, Meta(ge=0, lt=1 << 32)]
Positive = Annotated[float, Meta(gt=0)]
Weight = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(gt=0, le=1)]


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every group of parameters is: unchangeable, and closed against misspelt names."""
