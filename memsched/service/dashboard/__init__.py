"""The dashboard: pages that the service renders, and what they are made with."""
