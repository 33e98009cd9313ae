"""Makes this directory the place from which tests import what they share (devserver)."""

import signal

# Whoever runs this in the background may have these ignored, which children would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
