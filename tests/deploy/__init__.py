"""What is in deploy/ and examples/, as far as it can be judged without a cluster."""
