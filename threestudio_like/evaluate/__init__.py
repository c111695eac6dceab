"""How good a result is, in numbers; every metric says its range and which way is better."""
