"""Queue, results, events and schedules, written once over the driver contract in `omniq.storage.driver`."""
