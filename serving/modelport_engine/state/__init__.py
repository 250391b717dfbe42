"""What the engine knows and keeps: SQLite, where a write that returned is durable."""
