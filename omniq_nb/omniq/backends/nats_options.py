"""What the options of a ``nats://`` store may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from ..errors import OptionError
from ..masking import mask_url

_Positive = Annotated[int, msgspec.Meta(ge=1)]


class Options(msgspec.Struct, frozen=True, omit_defaults=True):
    """Those that are given; see `NATSDriver`.

    Attributes:
        replicas: Servers of a cluster that keep the streams.
        storage: Where a server keeps them.
        max_bytes: What the log may take; -1: as much as there is.
        compression: Of the streams.
        timeout: Seconds for an answer.
        prefix: Of JetStream's API.
        snapshot_bytes: How much log calls for a snapshot.
        token: As nats-py takes it, like those that follow.
        user_credentials: A file, or two.
        nkeys_seed: A file.
        tls: A context.
    """

    replicas: Annotated[int, msgspec.Meta(ge=1, le=5)] | None = None
    storage: Literal["file", "memory"] | None = None
    max_bytes: Annotated[int, msgspec.Meta(ge=-1)] | None = None
    compression: Literal["none", "s2"] | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None
    prefix: str | None = None
    snapshot_bytes: _Positive | None = None
    token: Any = None
    user_credentials: Any = None
    nkeys_seed: Any = None
    tls: Any = None


OPTIONS = frozenset(Options.__struct_fields__)


def checked(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, numbers that came as text made numbers.

    Raises:
        OptionError: One has a value that it can't have.
    """
    try:
        found = msgspec.convert(
            {name: value for name, value in options.items() if value is not None}, Options, strict=False
        )
    except msgspec.ValidationError as error:
        raise OptionError(f"an option of the store {mask_url(url)} has a value that it can't have: {error}") from error
    given = {name: getattr(found, name) for name in OPTIONS}
    return {name: value for name, value in given.items() if value is not None}
