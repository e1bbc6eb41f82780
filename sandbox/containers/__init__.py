"""Warm containers: how they are started, checked, replaced and reaped."""
