"""An Application Load Balancer listener in front of Lambda handlers."""

__version__ = "0.1.0"
