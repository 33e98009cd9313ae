"""Makes this directory the place from which tests import what they share (devserver)."""
