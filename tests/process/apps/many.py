"""A gateway of three functions on two listeners, from a document written here.

    many.py DIRECTORY WORKERS [ACCESS_LOG]

The first listener forwards /cart/* to `cart`, /cart/mail to `mail` and everything else to `shop`,
the second one everything to `mail`.
"""

import sys
from contextlib import ExitStack
from pathlib import Path

from gateway.compose.sinks import sinks
from gateway.config.document import Document
from gateway.config.function import Execution, Function
from gateway.config.listener import Listener, Rule
from gateway.config.process import Process
from gateway.config.target_group import TargetGroup
from gateway.core.rules import PathPattern
from gateway.server.run import run

NAMES = ("shop", "cart", "mail")

RULES = (
    Rule(20, PathPattern(("/cart/*",)), "cart"),
    Rule(10, PathPattern(("/cart/mail",)), "mail"),
)


def main(directory: Path, workers: int, access_log: str = "") -> None:
    """Serve until a signal comes."""
    execution = Execution(concurrency=4)
    document = Document(
        listeners=(
            Listener("shop", port=0, rules=RULES),
            Listener("mail", port=0),
        ),
        target_groups=(
            TargetGroup("shop", "shop"),
            TargetGroup("cart", "cart", multi_value_headers=True),
            TargetGroup("mail", "mail"),
        ),
        functions=tuple(
            Function("app.handler", directory / name, name, execution=execution) for name in NAMES
        ),
        process=Process(workers=workers, access_log=access_log),
    )
    with ExitStack() as stack:
        run(document, sinks(document, stack) if workers == 1 else None, announce)


def announce(urls: list[str], said: str) -> None:
    """Print where the listeners are."""
    for url in urls:
        print(f"listening on {url}")
    print(said, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
