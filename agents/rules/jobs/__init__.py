"""What can be wrong with a job: it did not start, took too long, failed, or ran too often."""
