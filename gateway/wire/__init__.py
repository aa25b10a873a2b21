"""Bytes to messages and back, without policy; the only importer of the HTTP parsers."""
