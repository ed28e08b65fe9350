"""`memsched demo`: messages, workers, one of them killed, and a report with evidence that nothing was lost."""
