"""What a listener serves at the time of the tests, for tests that shake hands."""

from datetime import timedelta
from typing import Any

from gateway.core.tls_policies import DEFAULT, security_policy
from gateway.wire.key_pair import CertificateFiles
from gateway.wire.tls import (
    Certificates,
)
from tests.wire.authority import NOW

DAY = timedelta(days=1)


def certificates(*files: CertificateFiles, policy: str = DEFAULT, **options: Any) -> Certificates:
    return Certificates(files, security_policy(policy), now=lambda: NOW, **options)
