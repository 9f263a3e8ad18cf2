"""What the workers measured in the last hour, kept in the store for the operator's charts."""
