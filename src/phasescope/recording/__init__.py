"""Durable files of events, one format a file."""
