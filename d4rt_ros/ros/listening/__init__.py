"""A user's side of the node: subscribing, asking and measuring, as the demo and the benchmarks do it."""
