"""What is there and when do we act: observer, intake, buffers, schedule loop, daemon and command."""
