"""What tests, benchmarks and applications' own tests stand on."""
