"""Scalekit's events as EventBridge delivers them.

`parse` validates an event. The other names are pydantic models: `OrganizationSsoEnabledEvent` is the whole event of the type
`organization.sso_enabled`, `OrganizationSsoEnabled` its detail, and `Connection` its data.
"""

from collections.abc import Iterable
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from . import models
from .models import *

__all__ = ["EVENT_MODELS", "InvalidEventError", "parse"]
__all__ += models.__all__

_Event = TypeVar("_Event", bound=BaseModel)


class InvalidEventError(ValueError):
    """An event isn't valid. The message consists of the problems."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems)
        self.problems = problems
        """What is wrong, such as `/detail/data/id: Field required`. A problem contains the member's JSON Pointer, and never
        a value from the event, which could be personal data."""

    def __str__(self) -> str:
        return "; ".join(self.problems)


def parse(event: Any, models: Iterable[type[_Event]]) -> _Event | None:
    """Returns the event as an instance of the model for its `detail-type`.

    Returns `None` if `models` has no model for this `detail-type`, and doesn't look at the rest of such an event. Raises
    `InvalidEventError` if it isn't an event of EventBridge, or isn't valid.
    """
    event_type = event.get("detail-type") if isinstance(event, dict) else None
    if not isinstance(event_type, str):
        raise InvalidEventError(["/detail-type: Input should be a valid string"])
    for model in models:
        if event_type == _event_type(model):
            try:
                return model.model_validate(event)
            except ValidationError as error:
                problems = [f"/{'/'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
            # Outside of the `except` clause, so that nobody logs the values in pydantic's error as its context.
            raise InvalidEventError(problems)
    return None


def _event_type(model: type[BaseModel]) -> str:
    """`model` is generated, so the annotation of this field is a `Literal` with one value."""
    return str(*get_args(model.model_fields["detail_type"].annotation))


EVENT_MODELS: dict[str, type[BaseModel]] = {
    _event_type(model): model for model in get_args(models.ScalekitEvent.model_fields["root"].annotation)
}
"""The model of each event type in the catalogue."""
