"""Sockets, signals, workers and the life of the process around a front."""
