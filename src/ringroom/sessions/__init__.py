"""One end of a connection to the I/O role: lanes, requests and counts. Nothing here waits."""
