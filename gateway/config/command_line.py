"""Options of the command line, or of a program, into a document with one function behind one
listener."""

from dataclasses import fields, replace
from typing import Any

from gateway.config.document import Document, check
from gateway.config.function import Execution, Function
from gateway.config.listener import Listener
from gateway.config.process import Process
from gateway.config.target_group import TargetGroup
from gateway.core.attributes import Attributes


def document(function: Function, *, target_group_arn: str = "", **options: Any) -> Document:
    """Return the document of one function behind one listener, checked.

    Options are the fields of Execution, Listener and Process. Raises InvalidSetting for those that
    do not fit together and TypeError for an unknown one.
    """
    attributes = options.get("attributes", Attributes())
    name = function.completed_name()
    execution = _taken(options, Execution)
    listener = _taken(options, Listener)
    process = _taken(options, Process)
    if options:
        raise TypeError(f"unknown options: {', '.join(options)}")
    group = TargetGroup(name, name, target_group_arn, attributes.multi_value_headers)
    made = Document(
        (Listener(name, **listener),),
        (group,),
        (replace(function, execution=replace(function.execution, **execution)),),
        Process(**process),
    )
    check(made)
    return made


def _taken(options: dict[str, Any], kind: type) -> dict[str, Any]:
    """Take the options out that are fields of a dataclass."""
    names = [one.name for one in fields(kind) if one.name in options]
    return {name: options.pop(name) for name in names}
