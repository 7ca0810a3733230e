"""Fan-out: events to matching subscribers, catching up, keep-alives."""
