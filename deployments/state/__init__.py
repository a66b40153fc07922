"""What must outlive a process: jobs, queue, leases, visibility, keys, limits, cached bytes."""
