"""`load`: the text of a capsule file becomes a capsule, or every problem of its form at once."""

import json

from pydantic import BaseModel, ValidationError

from capsules.capsule import Capsule
from somagent.capsulefile.document import Document, read
from somagent.capsulefile.problems import refuse
from somagent.capsulefile.translate import translate


def load(text: str, *, filename: str = "capsule.yaml") -> Capsule:
    """Return the capsule. Raises TooLarge, or Invalid whose problems have path, line, column and what was expected."""
    return parse(read(text, filename=filename), Capsule)


def parse[Model: BaseModel](document: Document, model: type[Model]) -> Model:
    """Turn a parsed document into a model, strictly: text is not a number and a field has one name."""
    try:
        # Through JSON, because only there do pydantic's strict rules take a list where the model has a tuple.
        return model.model_validate_json(json.dumps(document.value), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        refuse(document.filename, translate(error, document.places))
        raise
