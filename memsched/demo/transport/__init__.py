"""`memsched demo --transport`: a hundred messages, one worker killed, and a count that shows nothing was lost."""
