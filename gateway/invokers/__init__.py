"""Invokers: the ways to run a function."""
