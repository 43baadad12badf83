"""What lies on disks: artifacts and uploads."""
