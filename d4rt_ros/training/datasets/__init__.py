"""Readers of public data sets, one a module: each opens one sequence on disk as a RecordedSequence."""
