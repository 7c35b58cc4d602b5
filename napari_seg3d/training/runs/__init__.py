"""The run folder, from outside and from inside: start, find, steer, wait in the queue, and read what it tells."""
