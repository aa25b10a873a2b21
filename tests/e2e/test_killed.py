"""A gateway that is killed leaves control groups and directories; the next one clears them away."""

import signal
import sys
from pathlib import Path

import pytest

from gateway.runtime.owner import own_prefix
from tests.e2e.leftovers import adopting, control_groups, wait_until
from tests.e2e.serving import get, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


def test_next_gateway_clears_away_what_a_killed_one_left(tmp_path: Path) -> None:
    variables = {"TMPDIR": str(tmp_path)}
    with adopting() as left:
        with serving("echo.handler", env=variables) as killed:
            get(killed, "/")
            # What it would have made where no mount namespaces are to be had.
            *_, namespace, _ = own_prefix().split("-")
            directory = tmp_path / f"gateway-{killed.pid}-{namespace}-abc"
            directory.mkdir()
            with serving("echo.handler", env=variables) as beside:
                get(beside, "/")
                was_kept = directory.is_dir()
            assert get(killed, "/")[0] == 200  # the other one took nothing from it
            killed.signal(signal.SIGKILL)
            killed.wait()
            wait_until(lambda: not left(), left)
        with serving("echo.handler", env=variables):
            groups = control_groups(killed.pid)

    assert (groups, was_kept, directory.exists()) == ([], True, False)
