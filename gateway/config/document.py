"""All settings of one gateway as one value: what the command line, a file or a program describes.

Names tie its parts together, as AWS's names do: a listener forwards to a target group, in which a
function is registered.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from gateway.config.function import Function
from gateway.config.listener import Listener
from gateway.config.process import Process
from gateway.config.target_group import TargetGroup
from gateway.core.errors import InvalidSetting
from gateway.core.rules import check_priority


@dataclass(frozen=True, slots=True)
class Document:
    """Listeners, target groups and functions of one process."""

    listeners: tuple[Listener, ...]
    target_groups: tuple[TargetGroup, ...]
    functions: tuple[Function, ...]
    process: Process = field(default_factory=Process)

    def target_group(self, name: str) -> TargetGroup:
        """Return the target group of a name; raises InvalidSetting."""
        return _named(name, {group.name: group for group in self.target_groups}, "target group")

    def function(self, name: str) -> Function:
        """Return the function of a name; raises InvalidSetting."""
        functions = {function.completed_name(): function for function in self.functions}
        return _named(name, functions, "function")

    def served_by(self, listener: Listener) -> Function:
        """Return the function that a listener forwards to; raises InvalidSetting."""
        return self.function(self.target_group(listener.target_group).function)

    def reached_from(self, listener: Listener) -> list[Function]:
        """Return the functions that a listener and its rules forward to, each once; raises
        InvalidSetting."""
        groups = (listener.target_group, *(rule.target_group for rule in listener.rules))
        names = dict.fromkeys(self.target_group(name).function for name in groups)
        return [self.function(name) for name in names]

    def outputs(self) -> list[str]:
        """Return the files and directories that the gateway itself writes to."""
        own = (self.process.access_log, self.process.function_logs)
        return [path for path in (*own, *(one.uds for one in self.listeners)) if path]

    def share(self, number: int) -> "Document":
        """Return the settings of a worker, counted from 0, with its part of what is divided; raises
        InvalidSetting when a function has less than one invocation for each worker."""
        functions = tuple(self._share(function, number) for function in self.functions)
        process = replace(self.process, workers=1, worker=number)
        return replace(self, functions=functions, process=process)

    def _share(self, function: Function, number: int) -> Function:
        """Return what a worker runs of a function; raises InvalidSetting, which names it if there
        are several."""
        try:
            execution = function.execution.share(number, self.process.workers)
        except InvalidSetting as error:
            if len(self.functions) == 1:
                raise
            raise InvalidSetting(f"function {function.completed_name()!r}: {error}") from error
        return replace(function, execution=execution)


T = TypeVar("T")


def _named(name: str, found: dict[str, T], what: str) -> T:
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise InvalidSetting(f"there is no {what} {name!r}; known are: {known}")
    return found[name]


def check(document: Document) -> None:
    """Raise InvalidSetting for parts that do not fit together."""
    if not document.listeners:
        raise InvalidSetting("there is no listener; add one")
    _check_unique("function", (each.completed_name() for each in document.functions))
    _check_unique("target group", (each.name for each in document.target_groups))
    _check_unique("listener on", (one.place for one in document.listeners if one.uds or one.port))
    for listener in document.listeners:
        _check_rules(document, listener)
    for group in document.target_groups:
        document.function(group.function)
    _check_process(document)
    document.share(0)  # refuses what cannot be divided


def _check_rules(document: Document, listener: Listener) -> None:
    """Check the default action and the rules of a listener."""
    document.served_by(listener)
    _check_unique("rule priority", (str(rule.priority) for rule in listener.rules))
    for rule in listener.rules:
        check_priority(rule.priority)
        rule.path_pattern.check()
        document.target_group(rule.target_group)


def _check_unique(what: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise InvalidSetting(f"{what} {name!r} is there {count} times; it has to be unique")


def _check_process(document: Document) -> None:
    """Check what one process can do only once."""
    shared = [one for one in document.functions if one.execution.is_in_process]
    if len(shared) > 1:
        raise InvalidSetting(
            f"{len(shared)} functions are in-process; they would share one set of environment "
            "variables, so leave out in-process for all but one"
        )
    for function in document.functions:
        execution = function.execution
        if execution.threads is not None and not execution.is_in_process:
            raise InvalidSetting("--threads is for --in-process; environments take --concurrency")
    if document.process.server == "uvicorn":
        if any(listener.https for listener in document.listeners):
            raise InvalidSetting("--server uvicorn speaks plain HTTP; HTTPS needs the front")
        if len(document.listeners) > 1:
            raise InvalidSetting("--server uvicorn has one listener; more need the front")
