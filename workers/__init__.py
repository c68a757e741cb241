"""Worker processes as deployments start them, one thin module each."""
