"""The balancer: a Responder that forwards to target groups."""
