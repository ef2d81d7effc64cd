"""What runs tasks: pool, attempt, executors, heartbeat. They know the storage contracts, and no backend."""
