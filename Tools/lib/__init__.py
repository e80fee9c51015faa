"""What the comparing tools share: statistics, processes, results."""
