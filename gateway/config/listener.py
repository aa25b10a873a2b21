"""One listener: where it listens, its rules, and the attributes of its load balancer."""

from dataclasses import dataclass, field

from gateway.config.https import Https
from gateway.core.attributes import Attributes
from gateway.core.limits import Limits
from gateway.core.rules import PathPattern


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a listener: requests whose path matches are forwarded to a target group."""

    priority: int
    """1 to 50000, the lowest first; unique in its listener."""
    path_pattern: PathPattern
    target_group: str


@dataclass(frozen=True, slots=True)
class Listener:
    """A listener whose default action forwards to one target group."""

    target_group: str
    """The name of the default action's target group."""
    host: str = "127.0.0.1"
    port: int = 8080
    """0: any free port."""
    uds: str = ""
    """Path of a Unix socket to listen on instead of host and port."""
    https: Https | None = None
    """None: plain HTTP."""
    attributes: Attributes = field(default_factory=Attributes)
    """Those of load balancer and listener; those of the target group are the group's."""
    seen_as: str = ""
    """The URL of the listener that events seem to have come through; empty: this one."""
    limits: Limits = field(default_factory=Limits)
    is_faithful: bool = False
    """Whether a reply's headers are sent in reverse order, as ALB does."""
    rules: tuple[Rule, ...] = ()

    @property
    def scheme(self) -> str:
        """Return the scheme of the listener's URL."""
        return "https" if self.https else "http"

    @property
    def place(self) -> str:
        """Return where it listens, for people."""
        return f"unix:{self.uds}" if self.uds else f"{self.host}:{self.port}"
