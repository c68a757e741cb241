"""Running drains: leases, the driver that overlaps calls, the circuit breaker, and the loop of a wake-up."""
